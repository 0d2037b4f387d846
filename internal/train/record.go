package train

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/ckpt"
	"longlora/internal/config"
	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/plan"
	"longlora/internal/rope"
)

// Record is run.json: what a run is made of and how far it is. Each checkpoint holds one too.
type Record struct {
	Version   string            `json:"version"`
	Go        string            `json:"go"`
	Positions rope.Record       `json:"positions"`
	Model     ckpt.Print        `json:"model"`
	Tokenizer []ckpt.FilePrint  `json:"tokenizer"`
	Adapter   []ckpt.FilePrint  `json:"adapter"`
	Data      []ckpt.FilePrint  `json:"data"`
	EvalData  []ckpt.FilePrint  `json:"eval_data"`
	Options   map[string]string `json:"options"`
	Seed      uint64            `json:"seed"`
	Device    string            `json:"device"`
	DType     string            `json:"dtype"`
	Steps     int               `json:"steps"` // of the whole run
	Plan      plan.Plan         `json:"plan"`
	State     State             `json:"state"`
	Result    *Result           `json:"result,omitempty"` // of a finished run
}

// State is how far a run is.
type State struct {
	Step    int      `json:"step"`              // steps that are done
	Tokens  int64    `json:"tokens"`            // of all of them
	Seconds float64  `json:"seconds"`           // of all of them
	Loss    float64  `json:"loss"`              // of the last one
	Pending *Metrics `json:"pending,omitempty"` // the last step's line where its validation is still to be done
}

// Result is what a finished run prints.
type Result struct {
	Steps   int     `json:"steps"`
	Loss    float64 `json:"loss"`
	Tokens  int64   `json:"tokens"`
	Seconds float64 `json:"seconds"`
	Out     string  `json:"out"`
}

const recordName = "run.json"

// ReadRecord reads a run's or a checkpoint's run.json.
func ReadRecord(dir string) (*Record, error) {
	r := &Record{}
	if err := ckpt.ReadJSON(filepath.Join(dir, recordName), r); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Record) write(dir string) error { return ckpt.WriteJSON(filepath.Join(dir, recordName), r) }

// newRecord describes the run that the set-up is for.
func (s *setup) newRecord() (*Record, error) {
	r := &Record{
		Version: Version(), Go: runtime.Version(), Positions: s.pos.Record(), Options: s.options(),
		Seed: s.c.Seed, Device: deviceKind(s.be.Name()), DType: s.be.Act().String(), Steps: s.steps, Plan: s.plan,
	}
	var err error
	var files []string
	if s.base.Weights != nil {
		files = s.base.Weights.Files
	}
	if r.Model, err = ckpt.PrintModel(s.base.Dir, files); err != nil {
		return nil, err
	}
	if s.tok != nil {
		if r.Tokenizer, err = printFiles(s.tok.Files()); err != nil {
			return nil, err
		}
	}
	if a := s.base.Adapter; a != nil {
		if r.Adapter, err = printFiles(append([]string{filepath.Join(a.Dir, "adapter_config.json")}, a.Files...)); err != nil {
			return nil, err
		}
	}
	if r.Data, err = s.set.Prints(); err != nil {
		return nil, err
	}
	if s.evalSet != nil {
		r.EvalData, err = s.evalSet.Prints()
	}
	return r, err
}

// deviceKind is a backend's name without the device's number.
func deviceKind(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}

func printFiles(paths []string) ([]ckpt.FilePrint, error) {
	var out []ckpt.FilePrint
	for _, p := range paths {
		fp, err := ckpt.PrintFile(p, filepath.Base(p))
		if err != nil {
			return nil, err
		}
		out = append(out, fp)
	}
	return out, nil
}

// Options that a resumed run may change, or that something else compares: model, data and adapter by their
// fingerprints, --out by being where the run is, device and type by Record.Device and DType, group by its tokens.
var notCompared = []string{"model", "data", "eval-data", "adapter", "out", "save-every", "keep", "device", "dtype", "group", "group-size"}

// options are the options that must match for a run to go on, as text.
func (s *setup) options() map[string]string {
	out := map[string]string{}
	for name, v := range s.effective() {
		if slices.Contains(notCompared, name) {
			continue
		}
		if list, ok := v.([]string); ok {
			v = strings.Join(list, ",")
		}
		out[name] = fmt.Sprint(v)
	}
	out["group-size"] = fmt.Sprint(s.c.G)
	for _, e := range s.evals {
		if e.Group != s.c.G && e.Group > 0 { // s2 for validation alone
			out["group-size (validation)"] = fmt.Sprint(e.Group)
		}
	}
	if sum, err := data.TemplateSum(s.c.Template); err == nil && sum != "" {
		out["template (sha256)"] = short(sum)
	}
	if w := s.set.Weights(); slices.Max(w) > 0 {
		out["data (weights)"] = fmt.Sprint(w)
	}
	if n := s.set.Files(); len(n) > 1 {
		out["data (files of each)"] = fmt.Sprint(n)
	}
	if s.evalSet != nil {
		if n := s.evalSet.Files(); len(n) > 1 {
			out["eval-data (files of each)"] = fmt.Sprint(n)
		}
	}
	return out
}

// effective are train's options with their values; what comes from the adapter has the adapter's.
func (s *setup) effective() map[string]any {
	own := pflag.NewFlagSet("train", pflag.ContinueOnError)
	new(config.Train).Flags(own)
	out := map[string]any{}
	for name, v := range s.c.Values.Effective() {
		if own.Lookup(name) != nil {
			out[name] = v
		}
	}
	if s.base.Adapter != nil {
		a := s.base.Adapter
		out["rank"], out["alpha"], out["targets"] = a.Config.Rank, a.Config.Alpha, a.Targets()
		out["train-embed"], out["train-norm"] = s.tr.Whole[model.EmbedName], s.base.Desc().TrainsNorms(s.tr)
	}
	return out
}

// compare refuses to go on with a run that is not the same, naming the first difference with both values.
func (r *Record) compare(saved *Record, where string, replan bool) error {
	differ := func(what string, was, is any) error {
		return errs.Usagef("%s: %s was %v, now it is %v; give what the saved run had, or another --out", where, what, was, is)
	}
	if saved.Model.Config != r.Model.Config {
		return differ("--model: config.json", "of sha256 "+short(saved.Model.Config), "of sha256 "+short(r.Model.Config))
	}
	for _, f := range []struct {
		what    string
		was, is []ckpt.FilePrint
	}{{"--model", saved.Model.Files, r.Model.Files}, {"the tokenizer", saved.Tokenizer, r.Tokenizer}, {"--adapter", saved.Adapter, r.Adapter},
		{"--data", saved.Data, r.Data}, {"--eval-data", saved.EvalData, r.EvalData}} {
		for i := range max(len(f.was), len(f.is)) {
			if was, is := describe(f.was, i), describe(f.is, i); was != is {
				return differ(f.what, was, is)
			}
		}
	}
	names := map[string]bool{}
	for n := range saved.Options {
		names[n] = true
	}
	for n := range r.Options {
		names[n] = true
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	for _, n := range sorted {
		length, planned := n == "steps" || n == "epochs", n == "tile" || n == "keep-activations" || n == "move-layers"
		if replan && planned || length && saved.constant() && r.constant() {
			continue
		}
		was, is := saved.Options[n], r.Options[n]
		if was != is {
			return differ("--"+n, orNothing(was), orNothing(is))
		}
	}
	if !replan && saved.Device != r.Device {
		return errs.NoFitf("%s: the saved plan is for %s, this is %s; --replan accepts a new plan and other last bits", where, saved.Device, r.Device)
	}
	return nil
}

// constant reports whether the rate does not depend on how many steps there are.
func (r *Record) constant() bool { return r.Options["schedule"] == "constant" }

func orNothing(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}

func short(sum string) string { return sum[:min(12, len(sum))] }

// describe is file i of a list in words.
func describe(list []ckpt.FilePrint, i int) string {
	if i >= len(list) {
		return "nothing"
	}
	return fmt.Sprintf("%s of %d bytes (%s)", list[i].Name, list[i].Size, short(list[i].Print))
}

// holdsRun reports whether a folder has anything of an earlier run.
func holdsRun(dir string) bool {
	for _, n := range []string{recordName, metricsName, checkpointsName} {
		if _, err := os.Stat(filepath.Join(dir, n)); err == nil {
			return true
		}
	}
	return false
}
