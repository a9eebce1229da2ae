package alive

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// Kinds of a Gap.
const (
	Stopped = "stopped" // declared: between a stop and the next start
	Killed  = "killed"  // before a start without a stop
	Silent  = "silent"  // while it says to run: entries of an interval are missing
	Back    = "back"    // the clock went back
)

// Gap is a time of which a stream does not say that its writer ran.
type Gap struct {
	Kind   string    `json:"kind"`
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"` // the entry that ends it
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
}

// Declared says whether the ledger itself says that nobody recorded then.
func (g *Gap) Declared() bool { return g.Kind == Stopped }

func (g *Gap) String() string {
	from, to, long := g.From.Format(time.RFC3339), g.To.Format(time.RFC3339), g.To.Sub(g.From).Round(time.Second)
	switch g.Kind {
	case Stopped:
		return fmt.Sprintf("stopped at %s and started at %s, %s later", from, to, long)
	case Killed:
		return fmt.Sprintf("started at %s without having been stopped; the last that it says before is of %s, %s earlier", to, from, long)
	case Back:
		return fmt.Sprintf("the clock went back from %s to %s", from, to)
	}
	return fmt.Sprintf("nothing says that it ran from %s to %s, %s", from, to, long)
}

// Ran says from when to when a stream says that its writer ran.
type Ran struct {
	Stream   string        `json:"stream"`
	From     time.Time     `json:"from"`
	Until    time.Time     `json:"until"`
	Interval time.Duration `json:"interval_ns"`
	Stopped  bool          `json:"stopped"` // it was stopped then
}

// maxGaps bounds the gaps that are kept.
const maxGaps = 1000

// Gaps finds the gaps that are longer than Longest, or than two intervals where
// that is more. Streams that have no such entry are not judged: they never said that they would tell.
type Gaps struct {
	Longest time.Duration
	Found   []Gap
	// Declared and Undeclared count all that were found.
	Declared, Undeclared int

	streams map[string]*Ran
}

var (
	operationMember = []byte(`"operation":"ledger.`)
	systemMember    = []byte(`"kind":"` + audit.KindSystem + `"`)
)

// parse reads an entry that says when the writer ran. Others are not parsed, but for
// those that look so.
func parse(line []byte) (audit.Record, bool) {
	if !bytes.Contains(line, operationMember) || !bytes.Contains(line, systemMember) {
		return audit.Record{}, false
	}
	r, err := audit.ParseRecord(line)
	return r, err == nil && r.Kind == audit.KindSystem && (r.Operation == OpStart || r.Operation == OpAlive || r.Operation == OpStop)
}

// Is says whether an entry is one that says when the writer ran.
func Is(line []byte) bool {
	_, ok := parse(line)
	return ok
}

// Entry takes the next entry of a stream, in order.
func (g *Gaps) Entry(stream string, seq uint64, line []byte) {
	r, ok := parse(line)
	if !ok {
		return
	}
	at := r.Timestamp
	ran := g.streams[stream]
	if ran == nil { // its start may have been removed at the end of its retention
		ran = &Ran{Stream: stream, From: at, Until: at}
		if g.streams == nil {
			g.streams = map[string]*Ran{}
		}
		g.streams[stream] = ran
	}
	kind := Silent
	switch {
	case r.Operation == OpStart && ran.Stopped:
		kind = Stopped
	case r.Operation == OpStart:
		kind = Killed
	}
	g.between(ran, kind, seq, at)
	ran.Stopped = r.Operation == OpStop
	for _, d := range r.Details {
		if d.Name == detailInterval {
			// What can't be read counts as none: then Longest alone holds.
			ran.Interval, _ = time.ParseDuration(d.Value)
		}
	}
	ran.Until = at
}

func (g *Gaps) between(ran *Ran, kind string, seq uint64, at time.Time) {
	longest := max(g.Longest, 2*min(ran.Interval, MaxInterval))
	switch d := at.Sub(ran.Until); {
	case d < -longest:
		kind = Back
	case d <= longest:
		return
	}
	gap := Gap{kind, ran.Stream, seq, ran.Until, at}
	if gap.Declared() {
		g.Declared++
	} else {
		g.Undeclared++
	}
	if len(g.Found) < maxGaps {
		g.Found = append(g.Found, gap)
	}
}

// Ran returns what each stream that was judged says of its writer, by name.
func (g *Gaps) Ran() []Ran {
	var out []Ran
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		out = append(out, *g.streams[name])
	}
	return out
}
