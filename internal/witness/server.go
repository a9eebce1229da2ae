package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// maxRequest bounds a request: a size, 63 hashes and a note.
	maxRequest = 64 << 10
	maxHashes  = 63
)

// Checkpoint is what a log said of itself, and who signed.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   [32]byte
	// Text is the checkpoint, Signature the log's own signature line, Cosignature the witness's.
	Text, Signature, Cosignature string
	LogKey                       string // verifier key
}

// Note is the checkpoint with both signatures.
func (c *Checkpoint) Note() []byte { return []byte(c.Text + "\n" + c.Signature + c.Cosignature) }

// State keeps the latest checkpoint of each log.
type State interface {
	// Latest returns a log's latest checkpoint; false when there is none.
	Latest(origin string) (Checkpoint, bool)
	// Add makes a checkpoint the latest, durable when it returns.
	Add(ctx context.Context, c Checkpoint) error
}

// Server cosigns the checkpoints of logs that only grow.
type Server struct {
	signer *Signer
	logs   []note.Verifier
	vkeys  map[string]string // by name+hash
	state  State
	report func(event string, c Checkpoint, err error)

	mu sync.Mutex // one checkpoint at a time: check, keep, sign
}

// NewServer cosigns for the logs with these verifier keys. report is told of
// each request: "cosigned", or why it was refused.
func NewServer(signer *Signer, logs []string, state State, report func(event string, c Checkpoint, err error)) (*Server, error) {
	s := &Server{signer: signer, state: state, report: report, vkeys: map[string]string{}}
	for _, k := range logs {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, errors.New("log key: must be name+hash+base64")
		}
		s.logs = append(s.logs, v)
		s.vkeys[fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())] = k
	}
	if len(s.logs) == 0 {
		return nil, errors.New("no log key is given")
	}
	return s, nil
}

// ServeHTTP answers POST /add-checkpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/add-checkpoint" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "the request is too long", http.StatusRequestEntityTooLarge)
		return
	}
	req, err := parseRequest(body)
	if err != nil {
		s.report("malformed", Checkpoint{}, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(r.Context(), w, req)
}

type request struct {
	old   uint64
	proof tlog.TreeProof
	msg   []byte
	cp    Checkpoint
}

func parseRequest(body []byte) (request, error) {
	var r request
	head, msg, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return r, errors.New("no empty line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	text, ok := strings.CutPrefix(lines[0], "old ")
	var err error
	if r.old, err = size(text); !ok || err != nil {
		return r, errors.New("the first line must be: old <size>")
	}
	if len(lines) > 1+maxHashes {
		return r, errors.New("too many hashes")
	}
	for _, l := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(l)
		if err != nil || len(h) != 32 {
			return r, errors.New("malformed hash")
		}
		r.proof = append(r.proof, tlog.Hash(h))
	}
	r.msg = msg
	body1, _, ok := bytes.Cut(msg, []byte("\n\n"))
	fields := strings.Split(string(body1), "\n")
	if !ok || len(fields) < 3 || fields[0] == "" || len(fields[0]) > 256 {
		return r, errors.New("malformed checkpoint")
	}
	r.cp.Origin, r.cp.Text = fields[0], string(body1)+"\n"
	if r.cp.Size, err = size(fields[1]); err != nil {
		return r, errors.New("malformed checkpoint: size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(fields[2])
	if err != nil || len(root) != 32 {
		return r, errors.New("malformed checkpoint: root")
	}
	r.cp.Root = [32]byte(root)
	return r, nil
}

func size(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("not a size")
	}
	return n, nil
}

func (s *Server) add(ctx context.Context, w http.ResponseWriter, r request) {
	refuse := func(status int, event, text string) {
		s.report(event, r.cp, nil)
		http.Error(w, text, status)
	}
	n, err := note.Open(r.msg, note.VerifierList(s.logs...))
	if err != nil || len(n.Sigs) == 0 {
		refuse(http.StatusForbidden, "not signed by a known log", "the checkpoint is not signed by a known log")
		return
	}
	sig := n.Sigs[0]
	r.cp.Signature = "— " + sig.Name + " " + sig.Base64 + "\n"
	r.cp.LogKey = s.vkeys[fmt.Sprintf("%s+%08x", sig.Name, sig.Hash)]
	last, known := s.state.Latest(r.cp.Origin)
	conflict := func(event string) {
		s.report(event, r.cp, nil)
		w.Header().Set("Content-Type", sizeType)
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%d\n", last.Size)
	}
	switch {
	case known && last.LogKey != r.cp.LogKey:
		refuse(http.StatusForbidden, "signed by another log's key", "another key signed this log before")
		return
	case r.old > r.cp.Size:
		refuse(http.StatusBadRequest, "malformed", "the old size is greater than the checkpoint's")
		return
	case r.old != last.Size:
		conflict("another old size")
		return
	case r.old == r.cp.Size && known && last.Root != r.cp.Root:
		conflict("FORK: another root of the same size")
		return
	}
	switch {
	case r.old == 0 || r.old == r.cp.Size:
		err = nil
		if len(r.proof) > 0 {
			err = errors.New("a proof that is not asked for")
		}
	default:
		err = tlog.CheckTree(r.proof, int64(r.cp.Size), tlog.Hash(r.cp.Root), int64(r.old), tlog.Hash(last.Root))
	}
	if err != nil {
		refuse(http.StatusUnprocessableEntity, "NO GROWTH: the proof does not hold", "the consistency proof does not hold")
		return
	}
	if r.cp.Cosignature, err = s.signer.Line(r.cp.Text); err == nil && (!known || last.Size != r.cp.Size) {
		// Kept before anyone sees the signature.
		err = s.state.Add(ctx, r.cp)
	}
	if err != nil {
		s.report("not kept", r.cp, err)
		http.Error(w, "the checkpoint could not be kept; try again", http.StatusServiceUnavailable)
		return
	}
	s.report("cosigned", r.cp, nil)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, r.cp.Cosignature)
}
