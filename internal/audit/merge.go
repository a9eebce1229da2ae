package audit

import (
	"cmp"
	"slices"
)

// typedPrompt is the rank of what a user typed, as against what was sent.
const typedPrompt = 5

// completenessRank orders what a prompt or response can be told as; lower is
// better. The two kinds of a typed prompt are equal: which one holds is known
// only when all calls of the turn are, so the later observation is right.
func completenessRank(c string) int {
	switch c {
	case "full":
		return 1
	case "partial":
		return 2
	case "truncated":
		return 3
	case "text_only":
		return 4
	case "user_prompt_only", "user_prompt_of_turn":
		return typedPrompt
	case "unparsed":
		return 6
	case "none":
		return 7
	}
	return 8
}

func statusRank(s string) int {
	switch s {
	case "":
		return 3
	case StatusInitiated:
		return 2
	case StatusInterrupted:
		return 1
	}
	return 0
}

var evidenceRank = map[string]int{evidenceGateway: 1, "provider": 2, "sdk": 3, "client_asserted": 4, "": 5}

var assuranceRank = map[string]int{
	AssuranceVerified: 1, AssuranceGateway: 2, AssuranceAsserted: 3, AssuranceNone: 4, "": 5,
}

// unknownRank stands for a rank of 0, which is worse than any known one.
func unknownRank(rank int) int {
	if rank <= 0 {
		return 1 << 30
	}
	return rank
}

// evidenceGateway is the evidence of what passed through a gateway of ours.
const evidenceGateway = "gateway"

// SourceRank is the rank of an observation's source, lower is better. What a gateway saw pass beats
// whatever a client says of it.
func (r *Record) SourceRank() int {
	if r.Source.Evidence == evidenceGateway {
		return 0
	}
	return unknownRank(r.Source.Rank)
}

// Merge makes the record of a call from its observations: a known value beats
// null, better evidence beats worse, and among equals the later beats the
// earlier. The result does not depend on the order of the slice, only on the
// entries' revisions. It changes no entry, and panics on none.
func Merge(entries []*Record) Record {
	if len(entries) == 1 {
		r := *entries[0]
		r.Missing = nil // it is made anew, and not in the entry's memory
		r.Complete()
		return r
	}
	es := slices.Clone(entries)
	slices.SortStableFunc(es, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Log, b.Log), cmp.Compare(a.Seq, b.Seq))
	})

	last := es[len(es)-1]
	out := Record{EventID: last.EventID, Revision: last.Revision, Log: last.Log, Seq: last.Seq, Prev: last.Prev, Erased: last.Erased}

	// The primary source gives times, model and tokens; others fill its gaps.
	bySource := slices.Clone(es)
	slices.SortStableFunc(bySource, func(a, b *Record) int {
		return cmp.Or(
			cmp.Compare(a.SourceRank(), b.SourceRank()),
			cmp.Compare(b.Revision, a.Revision),
		)
	})
	for _, e := range bySource {
		out.fill(e)
	}
	worst := telling{completenessRank(""), unknownRank(0), 0}
	content := contentRanks{worst, worst, worst, worst}
	for _, e := range es {
		out.weigh(e)
		out.weighContent(e, &content)
	}
	out.Source = mergeSources(bySource, out.Source)
	out.Complete()
	return out
}

func fillStr(dst *string, v string) {
	if *dst == "" {
		*dst = v
	}
}

func fillInt(dst **int64, v *int64) {
	if *dst == nil {
		*dst = v
	}
}

// fillTokens takes a count where none is known; a count of 0 gives way too,
// because some clients report 0 for what they don't know.
func fillTokens(dst **int64, v *int64) {
	if v != nil && (*dst == nil || **dst == 0) {
		*dst = v
	}
}

// fill takes from e what is not known yet; entries come best source first.
func (r *Record) fill(e *Record) {
	if r.Kind == "" || e.Kind == KindInteraction {
		r.Kind = e.Kind
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = e.Timestamp
	}
	fillStr(&r.ApplicationID, e.ApplicationID)
	fillStr(&r.Model, e.Model)
	fillStr(&r.RequestModel, e.RequestModel)
	fillStr(&r.Provider, e.Provider)
	fillStr(&r.Operation, e.Operation)
	fillStr(&r.ResponseID, e.ResponseID)
	fillStr(&r.RequestID, e.RequestID)
	fillStr(&r.TraceID, e.TraceID)
	if r.SpanID == "" && r.TraceID == e.TraceID {
		r.SpanID = e.SpanID
	}
	fillStr(&r.IPAddress, e.IPAddress)
	fillStr(&r.Department, e.Department)
	fillStr(&r.AgentName, e.AgentName)
	r.Call.fill(&e.Call)
	fillInt(&r.LatencyMs, e.LatencyMs)
	fillTokens(&r.PromptTokens, e.PromptTokens)
	fillTokens(&r.CompletionTokens, e.CompletionTokens)
	fillTokens(&r.CacheReadTokens, e.CacheReadTokens)
	fillTokens(&r.CacheWriteTokens, e.CacheWriteTokens)
	// A client that says otherwise isn't believed when a gateway saw a call interrupted.
	seen := r.Status == StatusInterrupted && r.Source.Evidence == evidenceGateway && e.Source.Evidence != evidenceGateway
	if statusRank(e.Status) < statusRank(r.Status) && !seen {
		r.Status, r.Source.Evidence = e.Status, e.Source.Evidence
	}
	if e.ErrorType != "" && (r.ErrorType == "" || e.Source.ErrorExact && !r.Source.ErrorExact) {
		r.ErrorType, r.Source.ErrorExact = e.ErrorType, e.Source.ErrorExact
	}
	if e.StopReason != "" && (r.StopReason == "" || e.Source.StopExact && !r.Source.StopExact) {
		r.StopReason, r.StopClass, r.Source.StopExact = e.StopReason, e.StopClass, e.Source.StopExact
	}
}

func (c *Call) fill(e *Call) {
	fillStr(&c.Surface, e.Surface)
	fillStr(&c.Ended, e.Ended)
	fillInt(&c.HTTPStatus, e.HTTPStatus)
	fillInt(&c.TTFTMs, e.TTFTMs)
	fillInt(&c.ResponseBytes, e.ResponseBytes)
	fillStr(&c.RequestSHA256, e.RequestSHA256)
	fillStr(&c.ClientKey, e.ClientKey)
	fillStr(&c.BatchID, e.BatchID)
	fillStr(&c.BatchItem, e.BatchItem)
	fillStr(&c.PolicyDecision, e.PolicyDecision)
	fillStr(&c.PolicyRule, e.PolicyRule)
	fillStr(&c.PolicyReason, e.PolicyReason)
}

// weigh takes from e what is better evidence than, or as good as and later
// than, what r has; entries come oldest first.
func (r *Record) weigh(e *Record) {
	if e.UserID != "" && r.UserID != "" && e.UserID != r.UserID && (clash(e, r) || clash(r, e)) {
		r.PolicyFlags = append(r.PolicyFlags, FlagIdentityClash)
	}
	if e.UserID != "" && (r.UserID == "" || betterUser(e, r)) {
		r.UserID, r.Source.UserRank, r.IdentityAssurance = e.UserID, e.Source.UserRank, e.IdentityAssurance
	}
	if r.IdentityAssurance == "" {
		r.IdentityAssurance = e.IdentityAssurance
	}
	if e.SessionID != "" && (r.SessionID == "" || unknownRank(e.Source.SessionRank) <= unknownRank(r.Source.SessionRank)) {
		r.SessionID, r.Source.SessionRank = e.SessionID, e.Source.SessionRank
	}
	if ClassificationLevel(e.DataClassification) > ClassificationLevel(r.DataClassification) {
		r.DataClassification, r.ClassificationBasis = e.DataClassification, e.ClassificationBasis
	}
	r.PolicyFlags = append(r.PolicyFlags, e.PolicyFlags...)
	r.Detections = mergeDetections(r.Detections, e.Detections)
	for _, u := range e.Unparsed {
		if !slices.Contains(r.Unparsed, u) {
			r.Unparsed = append(r.Unparsed, u)
		}
	}
	// The longest retention wins; RFC 3339 dates compare as text.
	if r.RetentionClass == "" || e.RetentionUntil > r.RetentionUntil {
		r.RetentionClass, r.RetentionUntil, r.RetentionRule = e.RetentionClass, e.RetentionUntil, e.RetentionRule
	}
}

// opaqueUser is from what rank on a user is an id that an application made up for the API,
// or an installation's, and so differs from the name that it is known by elsewhere.
const opaqueUser = 140

// clash tells whether somebody is known to have been one user and says to be another.
func clash(known, said *Record) bool {
	sure := known.IdentityAssurance == AssuranceVerified || known.IdentityAssurance == AssuranceGateway
	return sure && said.IdentityAssurance == AssuranceAsserted && unknownRank(said.Source.UserRank) < opaqueUser
}

func betterUser(e, r *Record) bool {
	return cmp.Or(
		cmp.Compare(assuranceRank[e.IdentityAssurance], assuranceRank[r.IdentityAssurance]),
		cmp.Compare(unknownRank(e.Source.UserRank), unknownRank(r.Source.UserRank)),
	) <= 0
}

// contentRanks say who told the prompt and the response that a record has:
// how complete they are, and the content that is at hand. The two can differ: of
// a prompt that was cut the telemetry may tell nothing, where another event tells
// what the user typed.
type contentRanks struct{ prompt, promptHash, response, responseHash telling }

// telling weighs who told a prompt or a response.
type telling struct{ completeness, rank, parts int }

func (t telling) better(than telling) bool {
	switch {
	case t.completeness == typedPrompt && than.completeness == typedPrompt:
		return true // which call of a turn it was typed for is known better later
	case t.parts > 0 && than.parts > 0 && t.parts != than.parts:
		return t.parts > than.parts
	}
	return cmp.Or(cmp.Compare(t.completeness, than.completeness), cmp.Compare(t.rank, than.rank)) <= 0
}

// weighContent takes e's prompt and response where they are more complete, or
// as complete and from a source as good.
func (r *Record) weighContent(e *Record, ranks *contentRanks) {
	told := telling{completenessRank(e.Content.Prompt), e.SourceRank(), e.Source.Parts}
	if told.better(ranks.prompt) {
		r.Content.Prompt, ranks.prompt = e.Content.Prompt, told
	}
	if e.PromptHash != "" && told.better(ranks.promptHash) {
		r.PromptHash, r.Content.PromptSHA256, ranks.promptHash = e.PromptHash, e.Content.PromptSHA256, told
	}
	told.completeness = completenessRank(e.Content.Response)
	if told.better(ranks.response) {
		r.Content.Response, ranks.response = e.Content.Response, told
	}
	if e.ResponseHash != "" && told.better(ranks.responseHash) {
		r.ResponseHash, r.Content.ResponseSHA256, ranks.responseHash = e.ResponseHash, e.Content.ResponseSHA256, told
	}
	fillStr(&r.Content.KeyID, e.Content.KeyID)
	fillStr(&r.Content.Suite, e.Content.Suite)
}

func mergeDetections(have, more []Detection) []Detection {
	for _, d := range more {
		i := slices.IndexFunc(have, func(h Detection) bool { return h.Type == d.Type && h.Rule == d.Rule })
		switch {
		case i < 0:
			have = append(have, d)
		case d.Count > have[i].Count:
			have[i] = d
		}
	}
	slices.SortFunc(have, func(a, b Detection) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Rule, b.Rule)) })
	return have
}

// mergeSources describes the primary source and names the spans of the others.
func mergeSources(bySource []*Record, ranks Source) Source {
	primary := bySource[0]
	out := Source{
		Dialect: primary.Source.Dialect, Scope: primary.Source.Scope, Signal: primary.Source.Signal,
		Evidence: primary.Source.Evidence, ParentSpanID: primary.Source.ParentSpanID, Rank: primary.Source.Rank,
		PromptID: primary.Source.PromptID, Sequence: primary.Source.Sequence,
		UserRank: ranks.UserRank, SessionRank: ranks.SessionRank, StopExact: ranks.StopExact, ErrorExact: ranks.ErrorExact,
	}
	own := primary.TraceID + ":" + primary.SpanID
	for _, e := range bySource {
		if evidenceRank[e.Source.Evidence] < evidenceRank[out.Evidence] {
			out.Evidence = e.Source.Evidence
		}
		fillStr(&out.PromptID, e.Source.PromptID)
		if s := e.TraceID + ":" + e.SpanID; e.SpanID != "" && s != own {
			out.Spans = append(out.Spans, s)
		}
		for _, s := range e.Source.Spans {
			if s != own {
				out.Spans = append(out.Spans, s)
			}
		}
		out.Events = append(out.Events, e.Source.Events...)
	}
	out.Spans = sortedUnique(out.Spans)
	out.Events = sortedUnique(out.Events)
	return out
}
