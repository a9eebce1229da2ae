package dlp

import (
	"slices"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// Merge adds what a service said to what the engine found in the same call. The
// level becomes the higher of the engine's, the service's, and those that the
// engine's taxonomy gives to each detection by itself; steps that count several
// values or ask what stands near go by the engine's own findings alone.
func Merge(e *detect.Engine, sc detect.Scope, res detect.Result, ext Result) detect.Result {
	raise := func(level, basis string) {
		if audit.ClassificationLevel(level) > audit.ClassificationLevel(res.Level) {
			res.Level, res.Basis = level, basis
		}
	}
	for _, d := range ext.Detections {
		level, step := e.LevelOf(d, sc)
		raise(level, step+":"+d.Rule)
	}
	raise(ext.Level, "external")
	res.Detections = append(slices.Clip(res.Detections), ext.Detections...)
	res.Flags = append(slices.Clip(res.Flags), ext.Flags...)
	slices.Sort(res.Flags)
	res.Flags = slices.Compact(res.Flags)
	res.Truncated = res.Truncated || slices.Contains(ext.Flags, detect.FlagTruncated)
	return res
}
