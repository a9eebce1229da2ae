package dlp

import (
	"fmt"
	"regexp"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// contractVersion is the version of docs/external-classifier.openapi.yaml.
const contractVersion = 1

type contractRequest struct {
	Version     int    `json:"version"`
	Origin      string `json:"origin"`
	Application string `json:"application,omitempty"`
	Model       string `json:"model,omitempty"`
	Part        int    `json:"part"`
	Parts       int    `json:"parts"`
	Text        string `json:"text"`
}

type contractAnswer struct {
	Level      string            `json:"level"`
	Flags      []string          `json:"flags"`
	Detections []contractFinding `json:"detections"`
}

type contractFinding struct {
	Type       string `json:"type"`
	Rule       string `json:"rule"`
	Confidence string `json:"confidence"`
	Start      *int   `json:"start"`
	End        *int   `json:"end"`
	Count      *int   `json:"count"`
}

var flagForm = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)

func contractBody(p piece, sc detect.Scope) any {
	return contractRequest{
		Version: contractVersion, Origin: p.origin.String(), Application: sc.Application, Model: sc.Model,
		Part: p.part, Parts: p.parts, Text: p.text,
	}
}

// readContract reads the answer to a piece.
func (c *Client) readContract(body []byte, p piece) (answer, error) {
	var got contractAnswer
	if err := decode(body, &got); err != nil {
		return answer{}, err
	}
	if got.Level != "" && audit.ClassificationLevel(got.Level) == 0 {
		return answer{}, fmt.Errorf("%w: an unknown level", errAnswer)
	}
	if len(got.Flags) > maxFlags || len(got.Detections) > maxFindings {
		return answer{}, fmt.Errorf("%w: more than %d flags or %d detections", errAnswer, maxFlags, maxFindings)
	}
	a := answer{level: got.Level, flags: got.Flags}
	for _, f := range got.Flags {
		if len(f) > maxName || !flagForm.MatchString(f) {
			return answer{}, fmt.Errorf("%w: a flag that is no name", errAnswer)
		}
	}
	at := offsets(p.text)
	for _, f := range got.Detections {
		if !isName(f.Type) || f.Rule != "" && !isName(f.Rule) {
			return answer{}, fmt.Errorf("%w: a type or rule that is no name", errAnswer)
		}
		d := detect.Detection{Type: c.typeOf(f.Type), Rule: ruleName(f.Type), Confidence: f.Confidence, Count: 1}
		if f.Rule != "" {
			d.Rule = ruleName(f.Rule)
		}
		switch f.Confidence {
		case "":
			d.Confidence = detect.Medium.String()
		case detect.Low.String(), detect.Medium.String(), detect.High.String():
		default:
			return answer{}, fmt.Errorf("%w: an unknown confidence", errAnswer)
		}
		switch {
		case f.Start != nil && f.End != nil && f.Count == nil:
			start, ok := at.bytes(*f.Start, *f.End)
			if !ok {
				return answer{}, fmt.Errorf("%w: a detection outside of the text", errAnswer)
			}
			if start < p.from || start >= p.to {
				continue
			}
		case f.Start != nil || f.End != nil:
			return answer{}, fmt.Errorf("%w: a detection with only one of start and end, or with them and count", errAnswer)
		case f.Count != nil:
			if d.Count = *f.Count; d.Count < 1 || d.Count > maxCount {
				return answer{}, fmt.Errorf("%w: a count that is not from 1 to %d", errAnswer, maxCount)
			}
		}
		if d.Type == "" {
			continue
		}
		if err := a.add(d); err != nil {
			return answer{}, err
		}
	}
	return a, nil
}

// maxCount bounds what one detection may count for.
const maxCount = 1_000_000
