package claudeauditprocessor

import (
	"fmt"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/pseudonym"
)

// masker makes the caller less identifying, as configured.
type masker struct {
	user *pseudonym.Key // nil: ids stay
	addr *pseudonym.Key // for mask: hash
	how  pseudonym.Mask
}

func newMasker(cfg *Config) (masker, error) {
	m := masker{how: cfg.IPAddress.Mask}
	var err error
	if cfg.UserID.Pseudonymize == PseudonymizeHMAC {
		if m.user, err = loadKey(cfg.UserID.Key, cfg.UserID.KeyFile); err != nil {
			return m, fmt.Errorf("user_id::%w", err)
		}
	}
	if cfg.IPAddress.Mask == pseudonym.MaskHash {
		if m.addr, err = loadKey(cfg.IPAddress.Key, cfg.IPAddress.KeyFile); err != nil {
			return m, fmt.Errorf("ip_address::%w", err)
		}
	}
	return m, nil
}

func loadKey(key configopaque.String, file string) (*pseudonym.Key, error) {
	if file != "" {
		k, err := pseudonym.ReadKey(file)
		if err != nil {
			return nil, fmt.Errorf("key_file: %w", err)
		}
		return k, nil
	}
	k, err := pseudonym.NewKey([]byte(key))
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return k, nil
}

// mask masks the record's caller.
func (m *masker) mask(r *audit.Record) {
	if m.user != nil {
		r.UserID = m.user.User(r.UserID)
	}
	addr, err := m.addr.Address(r.IPAddress, m.how)
	if err != nil {
		addr = "" // what can't be masked is left out
	}
	r.IPAddress = addr
}

// callerKeys are the attributes that name a person on spans and log records of a call.
var callerKeys = map[string]bool{
	"user.id": true, "enduser.id": true, "user.email": true, "user.name": true, "user.full_name": true,
	"user.account_uuid": true, "user.account_id": true, "langfuse.user.id": true, "gen_ai.user.id": true,
	"ai.telemetry.metadata.userId": true, "ai.settings.context.userId": true,
	"traceloop.association.properties.user_id": true, "metadata.user_api_key_user_id": true, "llm.user": true,
	"metadata.user_api_key_user_email": true,
}

// addressKeys are the attributes that hold the caller's address.
var addressKeys = map[string]bool{"client.address": true, "net.peer.ip": true, "http.client_ip": true, "metadata.requester_ip_address": true}

// maskCaller removes from a call's span or log record what the record has
// masked: another exporter of the pipeline must not undo it.
func (m *masker) maskCaller(attrs pcommon.Map) {
	if m.user == nil && m.how == pseudonym.MaskFull {
		return
	}
	attrs.RemoveIf(func(k string, _ pcommon.Value) bool {
		return m.user != nil && callerKeys[k] || m.how != pseudonym.MaskFull && addressKeys[k]
	})
}
