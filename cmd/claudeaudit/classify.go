package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// maxClassifyLine bounds a line of input.
const maxClassifyLine = 64 << 20

// ruleFlags are the flags that say which rules to use.
type ruleFlags struct {
	files    []string
	defaults bool
	disable  []string
}

func (f *ruleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "rules", nil, "rule file to add to the built-in rules (repeatable)")
	cmd.Flags().BoolVar(&f.defaults, "defaults", true, "use the built-in rules")
	cmd.Flags().StringArrayVar(&f.disable, "disable", nil, "id of a rule or taxonomy step to leave out, or prefix with .* (repeatable)")
}

func (f *ruleFlags) config() detect.Config {
	return detect.Config{Files: f.files, NoDefaults: !f.defaults, Disable: f.disable}
}

func (a *app) newClassify() *cobra.Command {
	var rules ruleFlags
	var application string
	level := choice{value: audit.Internal, allowed: audit.Classifications, upper: true}
	cmd := &cobra.Command{
		Use:   "classify",
		Short: "Classify texts: data class, policy flags, types of data and where they are",
		Long: `Classify texts as the collector does. Each line of standard input is a JSON
object with "id" and "text", and perhaps "origin" (user, system, assistant,
tool or output; user if absent) and "application". Each line of output answers
one line of input, in order:

  {"id":…,"classification":…,"basis":…,"flags":[…],"types":[…],"spans":[{"start","end","type","rule"},…]}

Positions are bytes of the text in UTF-8, end is the byte after the last.
"basis" is the step of the taxonomy and the rule that set the class, "" where
nothing did: then the class is that of --default.`,
		Example: `  echo '{"id":1,"text":"card 4111 1111 1111 1111"}' | claudeaudit classify`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			engine, err := detect.New(rules.config())
			if err != nil {
				return err
			}
			return classify(engine, a.in, a.out, application, level.value)
		},
	}
	rules.add(cmd)
	cmd.Flags().StringVar(&application, "application", "", "application of lines that name none")
	addChoice(cmd, &level, "default", "class of a text in which nothing was found")
	return cmd
}

type classifyInput struct {
	ID          json.RawMessage `json:"id"`
	Text        *string         `json:"text"`
	Origin      string          `json:"origin"`
	Application string          `json:"application"`
}

type classifyOutput struct {
	ID             json.RawMessage `json:"id"`
	Classification string          `json:"classification"`
	Basis          string          `json:"basis"`
	Flags          []string        `json:"flags"`
	Types          []string        `json:"types"`
	Spans          []classifySpan  `json:"spans"`
}

type classifySpan struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Type  string `json:"type"`
	Rule  string `json:"rule"`
}

func classify(engine *detect.Engine, in io.Reader, out io.Writer, application, level string) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxClassifyLine)
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n := 0
	for lines.Scan() {
		n++
		if len(lines.Bytes()) == 0 {
			continue
		}
		answer, err := classifyLine(engine, lines.Bytes(), application, level)
		if err != nil {
			return errors.Join(fmt.Errorf("line %d of the input: %w", n, err), w.Flush())
		}
		if err := enc.Encode(answer); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return errors.Join(fmt.Errorf("read line %d of the input: %w", n+1, err), w.Flush())
	}
	return w.Flush()
}

func classifyLine(engine *detect.Engine, line []byte, application, level string) (classifyOutput, error) {
	var row classifyInput
	if err := json.Unmarshal(line, &row); err != nil {
		// the error of package json may quote the text
		return classifyOutput{}, errors.New(`not a JSON object with "id" and "text"`)
	}
	if row.Text == nil {
		return classifyOutput{}, errors.New(`has no "text"`)
	}
	if row.ID == nil {
		row.ID = json.RawMessage("null")
	}
	seg := detect.Segment{Text: *row.Text}
	if row.Origin != "" {
		var ok bool
		if seg.Origin, ok = detect.ParseOrigin(row.Origin); !ok {
			return classifyOutput{}, errors.New("origin is not user, system, assistant, tool or output")
		}
	}
	if row.Application != "" {
		application = row.Application
	}
	res := engine.Scan([]detect.Segment{seg}, detect.Scope{Application: application}, detect.Options{Spans: true})
	answer := classifyOutput{
		ID: row.ID, Classification: res.Level, Basis: res.Basis, Flags: res.Flags, Types: []string{}, Spans: []classifySpan{},
	}
	if answer.Classification == "" {
		answer.Classification = level
	}
	if answer.Flags == nil {
		answer.Flags = []string{}
	}
	for _, d := range res.Detections {
		answer.Types = append(answer.Types, d.Type)
	}
	slices.Sort(answer.Types)
	answer.Types = slices.Compact(answer.Types)
	for _, s := range res.Spans {
		answer.Spans = append(answer.Spans, classifySpan{Start: s.Start, End: s.End, Type: s.Type, Rule: s.Rule})
	}
	return answer, nil
}
