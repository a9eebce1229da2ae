package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"slices"
	"strings"
)

// HashList is a list of known identifiers or documents that tells nobody what
// they are: a file with one hex SHA-256 a line, each of salt and value.
// [HashValue] makes one.
type HashList struct {
	ID    string `yaml:"id"`
	Type  string `yaml:"type"`
	Level string `yaml:"level"`
	Flag  string `yaml:"flag"`
	// File is relative to the rule file; # begins a comment.
	File string `yaml:"file"`
	// Salt stands before each value. It keeps others' tables of hashes from
	// fitting, but short values can be guessed by who has it and the list.
	Salt string `yaml:"salt"`
	// Unit is what of a text is looked up: "token" each stretch of letters,
	// digits, '-', '_', '.', '@' and '+', or "document" the whole text.
	Unit string `yaml:"unit"`
	// MinLength and MaxLength of tokens, bytes; 0 is 6 and 64.
	MinLength int `yaml:"min_length"`
	MaxLength int `yaml:"max_length"`
}

// Units of a HashList.
const (
	UnitToken    = "token"
	UnitDocument = "document"
)

// hashList is the compiled form of all lists.
type hashList struct {
	lists []hashUnit
}

type hashUnit struct {
	rule     *Rule
	unit     string
	salt     string
	min, max int
	sums     map[[sha256.Size]byte]struct{}
}

// NormalizeValue is the form in which values are hashed: letters in lower case,
// stretches of white space one space, none around.
func NormalizeValue(v string) string { return strings.ToLower(strings.Join(strings.Fields(v), " ")) }

// HashValue is the line of a value in a list.
func HashValue(salt, value string) string {
	sum := sha256.Sum256([]byte(salt + NormalizeValue(value)))
	return hex.EncodeToString(sum[:])
}

func (s *ruleSet) addHashes(file string, line int, dir string, h HashList, byID map[string]*Rule) error {
	if h.ID == "" || h.File == "" {
		return errors.New("has no id or no file")
	}
	u := hashUnit{unit: h.Unit, salt: h.Salt, min: h.MinLength, max: h.MaxLength, sums: map[[sha256.Size]byte]struct{}{}}
	if u.unit == "" {
		u.unit = UnitToken
	}
	if u.unit != UnitToken && u.unit != UnitDocument {
		return fmt.Errorf("unit %q is not token or document", h.Unit)
	}
	if u.min <= 0 {
		u.min = 6
	}
	if u.max <= 0 {
		u.max = 64
	}
	if u.max > 256 || u.min > u.max {
		return errors.New("lengths of tokens are not between 1 and 256")
	}
	name := h.File
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	data, err := readBounded(name)
	if err != nil {
		return err
	}
	s.files = append(s.files, name)
	for n, l := range strings.Split(string(data), "\n") {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
			continue
		}
		sum, err := hex.DecodeString(l)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%s:%d: not a hex SHA-256", name, n+1)
		}
		u.sums[[sha256.Size]byte(sum)] = struct{}{}
	}
	r := &Rule{
		ID: h.ID, Type: h.Type, Category: CategoryBusiness, Level: h.Level, Flag: h.Flag, Confidence: "high",
		Description: "values of a hashed list", Validator: "hashed", file: file, line: line,
	}
	if r.Type == "" {
		r.Type = "known_" + u.unit
	}
	byID[r.ID] = r
	u.rule = r
	if s.hashes == nil {
		s.hashes = &hashList{}
	}
	s.hashes.lists = slices.DeleteFunc(s.hashes.lists, func(o hashUnit) bool { return o.rule.ID == r.ID })
	s.hashes.lists = append(s.hashes.lists, u)
	return nil
}

func isHashToken(c byte) bool {
	return isAlnum(c) || c == '-' || c == '_' || c == '.' || c == '@' || c == '+' || c >= 0x80
}

// recentTokens is how many tokens are remembered as looked up in vain.
const recentTokens = 1 << 12

// hashed looks the whole text and its tokens up in the lists. A hash costs more
// than all else, so a token that was looked up lately isn't again.
func (s *scanner) hashed() {
	h := s.e.hashes
	if h == nil {
		return
	}
	for i := range h.lists {
		u := &h.lists[i]
		if s.e.Rule(u.rule.ID) != u.rule {
			continue // disabled or replaced
		}
		if u.unit == UnitDocument {
			sum := sha256.Sum256([]byte(u.salt + NormalizeValue(s.text)))
			if _, ok := u.sums[sum]; ok {
				s.accept(match{end: uint32(len(s.text)), rule: u.rule.index, conf: High, hash: maphash.Bytes(s.e.seed, sum[:])})
			}
			continue
		}
		var recent [recentTokens]uint64
		for at := 0; at < len(s.text); at++ {
			if !isHashToken(s.text[at]) {
				continue
			}
			end := at + 1
			for end < len(s.text) && isHashToken(s.text[end]) {
				end++
			}
			token := strings.Trim(s.text[at:end], ".-")
			start := at + strings.Index(s.text[at:end], token)
			at = end
			if len(token) < u.min || len(token) > u.max {
				continue
			}
			k := maphash.String(s.e.seed, token)
			slot := &recent[k%recentTokens]
			if *slot == k {
				continue
			}
			sum := sha256.Sum256([]byte(u.salt + NormalizeValue(token)))
			if _, ok := u.sums[sum]; ok {
				s.accept(match{start: uint32(start), end: uint32(start + len(token)), rule: u.rule.index, conf: High, hash: k})
				continue
			}
			*slot = k
		}
	}
}
