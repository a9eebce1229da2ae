package genai

import "github.com/claudeaudit/claudeaudit/internal/jcs"

// Limits bound the work and the memory that one span or log record can cost.
// What lies beyond a limit is not read and is named in Interaction.Unparsed.
type Limits struct {
	MaxContentBytes int // bytes of one attribute or body that holds content
	MaxMessages     int // messages of one prompt or response
	MaxDepth        int // nesting of content
	MaxNodes        int // JSON values of one attribute or body
}

// DefaultLimits hold the longest prompts that the API accepts (32 MB).
var DefaultLimits = Limits{
	MaxContentBytes: 32 << 20,
	MaxMessages:     100_000,
	MaxDepth:        128,
	MaxNodes:        1 << 20,
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.MaxContentBytes, DefaultLimits.MaxContentBytes)
	set(&l.MaxMessages, DefaultLimits.MaxMessages)
	set(&l.MaxDepth, DefaultLimits.MaxDepth)
	set(&l.MaxNodes, DefaultLimits.MaxNodes)
	return l
}

func (l Limits) json() jcs.Limits {
	return jcs.Limits{MaxDepth: l.MaxDepth, MaxNodes: l.MaxNodes, MaxBytes: l.MaxContentBytes}
}
