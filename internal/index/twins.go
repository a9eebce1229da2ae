package index

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// MaxTwins bounds the events that one id joins. An id that more events tell
// names no call, and joins none of them.
const MaxTwins = 32

// minRequestID is the least length of a request id. Those of the API and of the
// clouds have 20 characters and more; a shorter one is a counter or a name, which
// nobody made to be unique.
const minRequestID = 16

// Kinds of a CallID.
const (
	responseKind = "response"
	requestKind  = "request"
)

// CallID is an id under which a provider knows a call: of its response or of its
// request. The zero value is none.
type CallID struct{ kind, value string }

// ResponseID is the id of a response, none when it is empty.
func ResponseID(id string) CallID {
	if id == "" {
		return CallID{}
	}
	return CallID{responseKind, id}
}

// RequestID is the id of a request, none when it is too short for one.
func RequestID(id string) CallID {
	if len(id) < minRequestID {
		return CallID{}
	}
	return CallID{requestKind, id}
}

// IsRequest says whether it is the id of a request.
func (id CallID) IsRequest() bool { return id.kind == requestKind }

// Value is the id without its kind.
func (id CallID) Value() string { return id.value }

// String is the kind and the id; ParseCallID reads it.
func (id CallID) String() string { return id.kind + ":" + id.value }

// ParseCallID reads what String writes.
func ParseCallID(s string) (CallID, error) {
	kind, value, ok := strings.Cut(s, ":")
	if !ok || kind != responseKind && kind != requestKind || value == "" {
		return CallID{}, fmt.Errorf("%w: the id of a call must be of a %s or a %s", ErrCorrupt, responseKind, requestKind)
	}
	return CallID{kind, value}, nil
}

// MarshalText implements encoding.TextMarshaler.
func (id CallID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *CallID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseCallID(string(b))
	return err
}

// AppendCallIDs appends the ids that a record tells, at most two.
func AppendCallIDs(ids []CallID, r *audit.Record) []CallID {
	for _, id := range [2]CallID{ResponseID(r.ResponseID), RequestID(r.RequestID)} {
		if id != (CallID{}) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Twin is an event with what it may be joined to others by: what its own entries
// tell.
type Twin struct {
	Event uuid.UUID
	First Place // of its entries
	IDs   []CallID
}

// TwinOf returns the twin that an event's own entries make; it sorts them as MergeParsed.
func TwinOf(entries []Parsed) Twin {
	rec := MergeParsed(entries)
	t := Twin{Event: rec.EventID, IDs: AppendCallIDs(nil, &rec)}
	for i, e := range entries {
		if p := (Place{Stream: e.Stream, Seq: e.Seq}); i == 0 || p.Compare(t.First) < 0 {
			t.First = p
		}
	}
	return t
}

func (t *Twin) response() CallID {
	for _, id := range t.IDs {
		if !id.IsRequest() {
			return id
		}
	}
	return CallID{}
}

// Families finds the events that are one record: those that ids join, directly or
// by others between.
//
// A response id joins the first events that each stream tells it of. Of further
// events in a stream its writer saw that they are other calls, which a cache
// answered.
//
// A request id joins all events that tell it, unless something speaks against it
// being one call's: two events of one stream, or two response ids. Then it joins
// none of them, as an id does that more than MaxTwins events tell.
type Families struct {
	told   func(ctx context.Context, id CallID) ([]Twin, error)
	joined map[CallID][]Twin
}

// NewFamilies returns families of the events that told finds. It is asked once for
// an id, and returns the events that tell it, of more than MaxTwins at least MaxTwins+1.
func NewFamilies(told func(ctx context.Context, id CallID) ([]Twin, error)) *Families {
	return &Families{told, map[CallID][]Twin{}}
}

// Of returns the events that are one record with an event, that among them. The
// first is the primary: its first entry has the smallest place.
func (f *Families) Of(ctx context.Context, t Twin) ([]Twin, error) {
	family := []Twin{t}
	seen := map[uuid.UUID]bool{t.Event: true}
	for i := 0; i < len(family); i++ {
		for _, id := range family[i].IDs {
			joined, err := f.by(ctx, id)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(joined, func(o Twin) bool { return o.Event == family[i].Event }) {
				continue
			}
			for _, o := range joined {
				if !seen[o.Event] {
					seen[o.Event] = true
					family = append(family, o)
				}
			}
		}
	}
	slices.SortFunc(family, func(a, b Twin) int { return a.First.Compare(b.First) })
	return family, nil
}

// by returns the events that an id joins.
func (f *Families) by(ctx context.Context, id CallID) ([]Twin, error) {
	if joined, ok := f.joined[id]; ok {
		return joined, nil
	}
	told, err := f.told(ctx, id)
	if err != nil {
		return nil, err
	}
	joined := joinedBy(id, told)
	f.joined[id] = joined
	return joined, nil
}

func joinedBy(id CallID, told []Twin) []Twin {
	if len(told) > MaxTwins {
		return nil
	}
	told = slices.SortedFunc(slices.Values(told), func(a, b Twin) int { return a.First.Compare(b.First) })
	var joined []Twin
	var response CallID
	for _, t := range told {
		again := slices.ContainsFunc(joined, func(o Twin) bool { return o.First.Stream == t.First.Stream })
		if !id.IsRequest() {
			if !again {
				joined = append(joined, t)
			}
			continue
		}
		if r := t.response(); r != (CallID{}) {
			if response != (CallID{}) && r != response {
				return nil
			}
			response = r
		}
		if again {
			return nil
		}
		joined = append(joined, t)
	}
	return joined
}
