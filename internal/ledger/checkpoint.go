package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	maxNote     = 64 << 10
	noteSuffix  = ".note"
	claimFormat = "claudeaudit.claim/1"
	claimsDir   = "v1/_claims/"
)

var (
	errCheckpoint = errors.New("invalid checkpoint")
	errClaim      = errors.New("invalid claim")
)

// Checkpoint is a signed statement of a stream's size and root.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpoint reads a checkpoint note that one of the verifiers signed.
// Lines after the third and signatures of unknown keys are accepted, but every
// signature must be in its only spelling, so that no bit of the note is free.
func ParseCheckpoint(msg []byte, known note.Verifiers) (Checkpoint, error) {
	text, err := openNote(msg, known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	return parseCheckpointText(text)
}

func parseCheckpointText(text string) (Checkpoint, error) {
	bad := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("%w: %s", errCheckpoint, what)
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return bad("must have an origin, a size and a root")
	}
	size, err := parseSize(lines[1])
	if err != nil {
		return bad("size")
	}
	root, ok := decodeBase64(lines[2])
	if !ok || len(root) != 32 {
		return bad("root")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}, nil
}

// decodeBase64 accepts one spelling only: the package skips line breaks.
func decodeBase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && !strings.ContainsAny(s, "\r\n")
}

func parseSize(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("not a number")
	}
	return n, nil
}

// openNote checks a note's signatures and returns its text.
func openNote(msg []byte, known note.Verifiers) (string, error) {
	if len(msg) > maxNote {
		return "", errors.New("too long")
	}
	n, err := note.Open(msg, known)
	if err != nil {
		return "", noteError(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(msg[len(n.Text)+1:])) {
		fields := strings.Fields(line)
		if len(fields) != 3 || seen[line] {
			return "", errors.New("repeated or malformed signature line")
		}
		seen[line] = true
		if _, ok := decodeBase64(fields[2]); !ok {
			return "", errors.New("signature is not canonical base64")
		}
	}
	return n.Text, nil
}

// noteError leaves out what the note package quotes of the note.
func noteError(err error) error {
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return errUnknownKey
	case errors.As(err, &invalid):
		return errSignature
	}
	return errors.New("malformed note")
}

var (
	errUnknownKey = errors.New("not signed by a known key")
	errSignature  = errors.New("signature does not match")
)

// contextSigner is a signer that asks another machine.
type contextSigner interface {
	SignContext(ctx context.Context, msg []byte) ([]byte, error)
}

type boundSigner struct {
	note.Signer
	ctx  context.Context
	with contextSigner
}

func (s boundSigner) Sign(msg []byte) ([]byte, error) { return s.with.SignContext(s.ctx, msg) }

func signCheckpoint(ctx context.Context, c Checkpoint, signer note.Signer) ([]byte, error) {
	msg, err := signNote(ctx, c.text(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return msg, nil
}

// signNote signs a text; a signer that asks another machine gives up when ctx ends.
func signNote(ctx context.Context, text string, signer note.Signer) ([]byte, error) {
	if c, ok := signer.(contextSigner); ok {
		signer = boundSigner{signer, ctx, c}
	}
	return note.Sign(&note.Note{Text: text}, signer)
}

func checkpointKey(origin string, hour time.Time, size uint64) string {
	return fmt.Sprintf("v1/%s/cp/%s/%016d%s", origin, dayPath(hour), size, noteSuffix)
}

// parseCheckpointKey reads "dt=…/<size>.note".
func parseCheckpointKey(rest string) (size uint64, ok bool) {
	day, name, found := strings.Cut(rest, "/")
	digits, isNote := strings.CutSuffix(name, noteSuffix)
	t, err := time.Parse("dt=2006-01-02", day)
	if !found || !isNote || err != nil || len(digits) != 16 || dayPath(t) != day {
		return 0, false
	}
	size, err = strconv.ParseUint(digits, 10, 53)
	return size, err == nil && fmt.Sprintf("%016d", size) == digits
}

// cosignedKey is the name of a checkpoint with a witness's cosignature.
func cosignedKey(origin string, hour time.Time, size uint64, keyHash uint32) string {
	return fmt.Sprintf("%s%s/%016d-%08x%s", cosignedDir(origin), dayPath(hour), size, keyHash, noteSuffix)
}

func cosignedDir(origin string) string { return "v1/" + origin + "/wit/" }

// parseCosignedKey reads "dt=…/<size>-<key hash>.note".
func parseCosignedKey(rest string) (size uint64, ok bool) {
	if len(rest) != len("dt=2006-01-02/")+16+1+8+len(noteSuffix) || !strings.HasSuffix(rest, noteSuffix) {
		return 0, false
	}
	at := len("dt=2006-01-02/") + 16
	for _, c := range []byte(rest[at+1 : at+9]) {
		if unhex[c] == 0xff {
			return 0, false
		}
	}
	if rest[at] != '-' {
		return 0, false
	}
	return parseCheckpointKey(rest[:at] + noteSuffix)
}

// lastKeyHash is the key hash of a note's last signature.
func lastKeyHash(msg []byte) uint32 {
	line := strings.TrimSuffix(string(msg), "\n")
	raw, ok := decodeBase64(line[strings.LastIndexByte(line, ' ')+1:])
	if !ok || len(raw) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(raw)
}

// Claim opens a stream: it ties the origin to a key and names the head of the
// stream it follows. It is a note signed with that key.
type Claim struct {
	Origin      string
	VerifierKey string
	Instance    string
	Created     time.Time
	// Previous is the head of the stream before, its Origin "" if there is none.
	Previous Checkpoint
}

func (c Claim) text() string {
	prev := "none"
	if c.Previous.Origin != "" {
		prev = fmt.Sprintf("%s %d %s", c.Previous.Origin, c.Previous.Size, base64.StdEncoding.EncodeToString(c.Previous.Root[:]))
	}
	return claimFormat + "\norigin " + c.Origin + "\nkey " + c.VerifierKey + "\ninstance " + c.Instance +
		"\ncreated " + c.Created.UTC().Format(time.RFC3339) + "\nprevious " + prev + "\n"
}

func claimKey(origin string) string { return claimsDir + origin + noteSuffix }

// parseClaimText reads a claim without its signature.
func parseClaimText(text string) (Claim, error) {
	bad := func(what string) (Claim, error) { return Claim{}, fmt.Errorf("%w: %s", errClaim, what) }
	lines := strings.Split(text, "\n")
	if len(lines) != 7 || lines[0] != claimFormat {
		return bad("not " + claimFormat)
	}
	var vals [5]string
	for i, name := range []string{"origin ", "key ", "instance ", "created ", "previous "} {
		v, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return bad("no " + strings.TrimSpace(name))
		}
		vals[i] = v
	}
	c := Claim{Origin: vals[0], VerifierKey: vals[1], Instance: vals[2]}
	if _, _, err := splitOrigin(c.Origin); err != nil {
		return bad(err.Error())
	}
	if _, err := note.NewVerifier(c.VerifierKey); err != nil {
		return bad("key")
	}
	var err error
	if c.Created, err = time.Parse(time.RFC3339, vals[3]); err != nil {
		return bad("created")
	}
	if vals[4] != "none" {
		f := strings.Split(vals[4], " ")
		if len(f) != 3 {
			return bad("previous")
		}
		if _, _, err := splitOrigin(f[0]); err != nil {
			return bad("previous: " + err.Error())
		}
		if c.Previous, err = parseCheckpointText(strings.Join(f, "\n") + "\n"); err != nil {
			return bad("previous")
		}
	}
	if c.text() != text {
		return bad("not canonical")
	}
	return c, nil
}

// parseClaim reads a claim and checks that the key it names signed it.
func parseClaim(msg []byte) (Claim, error) {
	if len(msg) > maxNote {
		return Claim{}, fmt.Errorf("%w: too long", errClaim)
	}
	i := bytes.Index(msg, []byte("\n\n"))
	if i < 0 {
		return Claim{}, fmt.Errorf("%w: malformed note", errClaim)
	}
	c, err := parseClaimText(string(msg[:i+1]))
	if err != nil {
		return Claim{}, err
	}
	v, err := note.NewVerifier(c.VerifierKey)
	if err != nil {
		return Claim{}, fmt.Errorf("%w: key", errClaim)
	}
	if _, err := openNote(msg, note.VerifierList(v)); err != nil {
		return Claim{}, fmt.Errorf("%w: %w", errClaim, err)
	}
	return c, nil
}
