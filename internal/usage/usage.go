// Package usage holds calls against what the provider counted of them: the usage
// report of the Claude API, as GET /v1/organizations/usage_report/messages answers it.
// What the provider counted and nobody recorded was dropped before it could be, or went
// around.
package usage

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

const (
	// Slack is how far apart the provider's clock and a record's may be.
	Slack = 5 * time.Minute
	// batchTime is within what time a message batch ends, after which its requests are counted.
	batchTime = 24 * time.Hour

	maxReport  = 64 << 20 // bytes
	maxBuckets = 1 << 20
)

// Counts are tokens. Input has those that were read from the cache and written to it.
type Counts struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
}

func (c *Counts) add(o Counts) { c.Input, c.Output = c.Input+o.Input, c.Output+o.Output }

// Bucket is a time of the report, of one model where the report is grouped by model, and
// what was recorded of it.
type Bucket struct {
	Start time.Time `json:"starting_at"`
	End   time.Time `json:"ending_at"`
	Model string    `json:"model,omitempty"` // without its date
	// Counted is what the provider counted.
	Counted Counts `json:"counted"`
	// Recorded is what records tell that may be of this time, among them those that may
	// be of the one before or after.
	Recorded Counts `json:"recorded"`
	Calls    int    `json:"calls"`
	// Untold are those of the calls that don't tell their tokens.
	Untold int `json:"calls_without_tokens"`
}

// Missing is what the provider counted beyond what was recorded.
func (b *Bucket) Missing() Counts {
	return Counts{max(b.Counted.Input-b.Recorded.Input, 0), max(b.Counted.Output-b.Recorded.Output, 0)}
}

// String says what is missing.
func (b *Bucket) String() string {
	model := ""
	if b.Model != "" {
		model = " of " + b.Model
	}
	m := b.Missing()
	text := fmt.Sprintf("%s to %s%s: the provider counted %d input and %d output tokens, and %d and %d more than the %d calls that are recorded",
		b.Start.UTC().Format(time.RFC3339), b.End.UTC().Format(time.RFC3339), model, b.Counted.Input, b.Counted.Output, m.Input, m.Output, b.Calls)
	if b.Untold > 0 {
		text += fmt.Sprintf("; %d of these don't tell their tokens", b.Untold)
	}
	return text
}

// Report is a usage report, and what was recorded of its time.
type Report struct {
	Buckets []*Bucket // by model and time
	byModel map[string][]*Bucket
	grouped bool
	pages   int
	ended   bool // the last page is among them
}

// Read adds what a file has: one page of the report or several, one after the other.
func (r *Report) Read(in io.Reader) error {
	limited := &io.LimitedReader{R: in, N: maxReport + 1}
	d := json.NewDecoder(limited)
	for {
		var p page
		err := d.Decode(&p)
		switch {
		case limited.N <= 0:
			return fmt.Errorf("it is larger than %d bytes", maxReport)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("not a usage report: %w", err)
		case p.Data == nil || p.HasMore == nil:
			return errors.New("not a usage report: it has no data and has_more, as /v1/organizations/usage_report/messages answers")
		}
		r.pages++
		r.ended = r.ended || !*p.HasMore
		for _, b := range *p.Data {
			if err := r.bucket(&b); err != nil {
				return err
			}
		}
	}
}

type page struct {
	Data    *[]pageBucket `json:"data"`
	HasMore *bool         `json:"has_more"`
}

type pageBucket struct {
	Start   time.Time `json:"starting_at"`
	End     time.Time `json:"ending_at"`
	Results []result  `json:"results"`
}

type result struct {
	Model         *string          `json:"model"`
	Uncached      int64            `json:"uncached_input_tokens"`
	CacheRead     int64            `json:"cache_read_input_tokens"`
	CacheCreation map[string]int64 `json:"cache_creation"`
	Output        int64            `json:"output_tokens"`
}

func (r *result) counts() (c Counts, ok bool) {
	c.Output = r.Output
	parts := []int64{r.Uncached, r.CacheRead}
	for _, n := range r.CacheCreation {
		parts = append(parts, n)
	}
	for _, n := range parts {
		if n < 0 || n > math.MaxInt64/1024-c.Input {
			return c, false
		}
		c.Input += n
	}
	return c, c.Output >= 0 && c.Output <= math.MaxInt64/1024
}

// bucket takes a bucket of a page.
func (r *Report) bucket(in *pageBucket) error {
	if in.Start.IsZero() || !in.End.After(in.Start) {
		return errors.New("a bucket has no starting_at and ending_at after it")
	}
	for i := range in.Results {
		res := &in.Results[i]
		grouped := res.Model != nil
		if len(r.Buckets) > 0 && grouped != r.grouped {
			return errors.New("some of its results name a model and some don't: group it by model, or not")
		}
		r.grouped = grouped
		model := ""
		if grouped {
			model = undated(*res.Model)
		}
		n, ok := res.counts()
		if !ok {
			return fmt.Errorf("the bucket of %s has a count that can't be", in.Start.UTC().Format(time.RFC3339))
		}
		if r.byModel == nil {
			r.byModel = map[string][]*Bucket{}
		}
		of := r.byModel[model]
		at, found := slices.BinarySearchFunc(of, in.Start, func(b *Bucket, t time.Time) int { return b.Start.Compare(t) })
		switch {
		case found && !of[at].End.Equal(in.End), at > 0 && of[at-1].End.After(in.Start), !found && at < len(of) && of[at].Start.Before(in.End):
			return fmt.Errorf("the bucket of %s overlaps another one", in.Start.UTC().Format(time.RFC3339))
		case !found:
			if len(r.Buckets) == maxBuckets {
				return fmt.Errorf("it has more than %d buckets", maxBuckets)
			}
			b := &Bucket{Start: in.Start, End: in.End, Model: model}
			r.Buckets = append(r.Buckets, b)
			of = slices.Insert(of, at, b)
			r.byModel[model] = of
		}
		of[at].Counted.add(n)
	}
	return nil
}

var date = regexp.MustCompile(`-20\d{6}$`)

// undated is a model's name without the date of its snapshot, which a report may leave out.
func undated(model string) string { return date.ReplaceAllString(model, "") }

// Complete says whether the report is whole. Call it after the last Read.
func (r *Report) Complete() error {
	switch {
	case r.pages == 0:
		return errors.New("it is empty")
	case !r.ended:
		return errors.New("its last page is missing: each one that is there says that there are more")
	}
	slices.SortFunc(r.Buckets, func(a, b *Bucket) int { return cmp.Or(cmp.Compare(a.Model, b.Model), a.Start.Compare(b.Start)) })
	return nil
}

// Span is the time within which calls may have started that the report counts.
func (r *Report) Span() (from, to time.Time) {
	for _, b := range r.Buckets {
		if from.IsZero() || b.Start.Before(from) {
			from = b.Start
		}
		if b.End.After(to) {
			to = b.End
		}
	}
	return from.Add(-batchTime - longestCall - Slack), to.Add(Slack)
}

// longestCall is how long before the report's time a call may have started that ended in it.
const longestCall = time.Hour

// Add takes a call's record.
func (r *Report) Add(rec *audit.Record) {
	if rec.Kind != audit.KindInteraction || rec.Provider != "" && rec.Provider != "anthropic" || rec.Call.Surface != "" && rec.Call.Surface != "anthropic" {
		return // the report is of the Claude API alone
	}
	model := ""
	if r.grouped {
		model = undated(cmp.Or(rec.Model, rec.RequestModel))
	}
	from, to := rec.Timestamp.Add(-Slack), rec.Timestamp.Add(Slack)
	if rec.LatencyMs != nil {
		to = to.Add(time.Duration(min(max(*rec.LatencyMs, 0), longestCall.Milliseconds())) * time.Millisecond)
	}
	if rec.Call.BatchItem != "" {
		to = to.Add(batchTime)
	}
	told := Counts{}
	if rec.PromptTokens != nil {
		told.Input = *rec.PromptTokens
	}
	if rec.CompletionTokens != nil {
		told.Output = *rec.CompletionTokens
	}
	// The provider counts nothing of what it did not answer.
	untold := (rec.PromptTokens == nil || rec.CompletionTokens == nil) && rec.Status != audit.StatusError && rec.Status != audit.StatusBlocked
	of := r.byModel[model]
	at, _ := slices.BinarySearchFunc(of, from, func(b *Bucket, t time.Time) int {
		if !b.End.After(t) {
			return -1
		}
		return 1
	})
	for _, b := range of[at:] {
		if b.Start.After(to) {
			return
		}
		b.Calls++
		b.Recorded.add(told)
		if untold {
			b.Untold++
		}
	}
}
