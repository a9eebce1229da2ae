package witness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/stamp"
)

// maxPolicy bounds a policy's file.
const maxPolicy = 1 << 20

// Policy says which logs are believed, and who has to have cosigned them. Its
// text is that of C2SP tlog-policy, one item a line:
//
//	log <verifier key> [<url>]
//	witness <name> <verifier key> [<url>]
//	group <name> <threshold|any|all> <name>…
//	quorum <name|none>
//
// and, which tlog-policy doesn't have, certificates of time stamping authorities:
//
//	tsa <name> <base64 of the certificate's DER form>
type Policy struct {
	Logs      []string    // verifier keys
	Witnesses []*Verifier // every one that is named
	// Authorities are those whose time stamps are believed.
	Authorities []*stamp.Authority

	members map[string]member
	quorum  string
}

type member struct {
	witness   *Verifier
	threshold int
	of        []string
}

// LoadPolicy reads a policy's file.
func LoadPolicy(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err == nil && len(b) > maxPolicy {
		err = fmt.Errorf("larger than %d bytes", maxPolicy)
	}
	var p *Policy
	if err == nil {
		p, err = ParsePolicy(string(b))
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", path, err)
	}
	return p, nil
}

// ParsePolicy reads a policy.
func ParsePolicy(text string) (*Policy, error) {
	p := &Policy{members: map[string]member{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			if err := p.item(f); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	switch {
	case len(p.Logs) == 0:
		return nil, errors.New("it names no log")
	case p.quorum == "":
		return nil, errors.New("it has no quorum line")
	}
	return p, nil
}

func (p *Policy) item(f []string) error {
	switch f[0] {
	case "log":
		if len(f) < 2 || len(f) > 3 {
			return errors.New("must be: log <verifier key> [<url>]")
		}
		if _, err := note.NewVerifier(f[1]); err != nil {
			return errors.New("log: must be a verifier key name+hash+base64")
		}
		p.Logs = append(p.Logs, f[1])
	case "witness":
		if len(f) < 3 || len(f) > 4 {
			return errors.New("must be: witness <name> <verifier key> [<url>]")
		}
		v, err := ParseVerifier(f[2])
		if err != nil {
			return fmt.Errorf("witness %s: %w", f[1], err)
		}
		p.Witnesses = append(p.Witnesses, v)
		return p.name(f[1], member{witness: v})
	case "group":
		if len(f) < 4 {
			return errors.New("must be: group <name> <threshold|any|all> <name>…")
		}
		m := member{of: f[3:]}
		for i, name := range m.of {
			if _, ok := p.members[name]; !ok {
				return fmt.Errorf("group %s: %s is not defined before", f[1], name)
			}
			if slices.Contains(m.of[:i], name) {
				return fmt.Errorf("group %s: %s is there twice", f[1], name)
			}
		}
		switch f[2] {
		case "any":
			m.threshold = 1
		case "all":
			m.threshold = len(m.of)
		default:
			k, err := strconv.Atoi(f[2])
			if err != nil || k < 1 || k > len(m.of) {
				return fmt.Errorf("group %s: the threshold must be any, all or a number from 1 to %d", f[1], len(m.of))
			}
			m.threshold = k
		}
		return p.name(f[1], m)
	case "tsa":
		if len(f) != 3 {
			return errors.New("must be: tsa <name> <base64 of the certificate's DER form>")
		}
		a, err := stamp.ParseAuthority(f[1], f[2])
		if err != nil {
			return fmt.Errorf("tsa %s: %w", f[1], err)
		}
		p.Authorities = append(p.Authorities, a)
	case "quorum":
		if len(f) != 2 || p.quorum != "" {
			return errors.New("must be once: quorum <name|none>")
		}
		if _, ok := p.members[f[1]]; !ok && f[1] != "none" {
			return fmt.Errorf("quorum: %s is not defined before", f[1])
		}
		p.quorum = f[1]
	default:
		return fmt.Errorf("unknown item %q", f[0])
	}
	return nil
}

func (p *Policy) name(name string, m member) error {
	if _, ok := p.members[name]; ok || name == "none" {
		return fmt.Errorf("the name %s is taken", name)
	}
	p.members[name] = m
	return nil
}

// HasQuorum says whether the policy asks for witnesses at all.
func (p *Policy) HasQuorum() bool { return p.quorum != "none" }

// Satisfied says whether those who cosigned are enough.
func (p *Policy) Satisfied(cosigned func(*Verifier) bool) bool {
	return p.quorum == "none" || p.met(p.quorum, cosigned)
}

func (p *Policy) met(name string, cosigned func(*Verifier) bool) bool {
	m := p.members[name]
	if m.witness != nil {
		return cosigned(m.witness)
	}
	n := 0
	for _, of := range m.of {
		if p.met(of, cosigned) {
			n++
		}
	}
	return n >= m.threshold
}
