package train

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"longlora/internal/data"
	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/plan"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
)

// Options are what a run is: what is trained on what, and how.
type Options struct {
	plan.Training
	Memory       plan.Memory
	Model        string         // a folder or a name
	Out          string         // a folder
	Window       *s2attn.Choice // nil: as beside the adapter, or as the model has them
	Positions    rope.Request   // but for the context
	Documents    data.Options   // how documents are read
	Data         []string
	HoldDocs     float64 // share of the documents that is not trained on
	Overlong     string  // drop, truncate or error
	EvalData     []string
	EvalFraction float64  // share of the rows that is held out for validation
	LR           *float64 // nil: as Rates say
	LREmbed      *float64 // of embedding, norms and head; nil: as Rates say
	Rates        Rates
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64
	MaxGradNorm  float64 // 0: gradients are never clipped
	WarmupSteps  int
	Schedule     string  // constant, linear or cosine
	Epochs       float64 // passes over the rows where Steps are not counted; 0: one
	Seed         uint64
	Shuffle      bool
	SaveEvery    int
	KeepBest     bool   // the best by validation loss is kept
	EarlyStop    int    // validations without a better one after which the run stops; 0: never
	Keep         int    // checkpoints
	Resume       string // auto, never, or a checkpoint's folder
	Replan       bool
	DryRun       bool
	Settings     []Setting // the options as they were given, for the run's record
	// the processes that train together, nil for one alone; all have the same options, and rank 0 writes
	Ranks *dist.Group
	Watch *dist.Watch // notices that the work stands still; nil where nobody does
}

// Demand is what going on with a run asks of an option.
type Demand int

// The demands.
const (
	Match     Demand = iota // the same value as the run began with
	Free                    // nothing
	Planned                 // the same value, unless a new plan is accepted
	Length                  // the same value, unless the rate does not depend on how many steps there are
	Elsewhere               // nothing of its text: what it names is compared
	OfCall                  // nothing: it is of one call, and no part of a run
)

// Setting is an option of a run with its value.
type Setting struct {
	Option errs.Option
	Value  any    // text, a list of texts, or a number or truth value
	Given  bool   // by a flag, the environment or a file
	Recipe bool   // recipes set it, or the day
	From   string // what gave it
	Unset  bool   // its value stands for "not given", and would be refused, or mean something else, where it was given
	Resume Demand
}

// Number is a number, a truth value or a word, as options spell it.
type Number string

// Text is the value as one text.
func (s Setting) Text() string {
	if list, ok := s.Value.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(s.Value)
}

// with gives settings a value, in the place of the one that they have.
func with(settings []Setting, o errs.Option, value any) []Setting {
	at := slices.IndexFunc(settings, func(s Setting) bool { return s.Option == o })
	if at < 0 {
		return append(settings, Setting{Option: o, Value: value})
	}
	settings[at].Value = value
	return settings
}

// YAML writes settings, sorted, as a file that gives the same ones again. Those that were not given, and would exclude
// others, be refused or mean something else where they are, are left out.
func YAML(settings []Setting) ([]byte, error) {
	bySize := slices.ContainsFunc(settings, func(x Setting) bool { return x.Option == "group-size" && x.Given })
	byName := map[string]Setting{}
	for _, s := range settings {
		if !(s.Unset && !s.Given || s.Option == "group" && bySize) {
			byName[string(s.Option)] = s
		}
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		x := byName[name].Value
		switch x.(type) {
		case string, []string:
		default: // numbers and truth values stand without quotes
			fmt.Fprintf(&out, "%s: %v\n", name, x)
			continue
		}
		b, err := yaml.Marshal(map[string]any{name: quoted(x)})
		if err != nil {
			return nil, err
		}
		out.Write(b)
	}
	return out.Bytes(), nil
}

// quoted has texts of several lines in quotes: blocks would lose tabs.
func quoted(x any) any {
	switch x := x.(type) {
	case string:
		if strings.ContainsAny(x, "\n\r\t") && utf8.ValidString(x) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: x, Style: yaml.DoubleQuotedStyle}
		}
	case []string:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = quoted(e)
		}
		return list
	}
	return x
}
