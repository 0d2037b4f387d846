package train

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"

	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/rundir"
)

// Record is run.json: what a run is made of, how far it is, and its plan.
type Record struct {
	rundir.Run
	Plan plan.Plan `json:"plan"`
}

// ReadRecord reads a run's or a checkpoint's run.json, of any version.
func ReadRecord(dir string) (*Record, error) {
	r := &Record{}
	if err := rundir.Read(dir, r); err != nil {
		return nil, err
	}
	return r, nil
}

// readOwn reads a record of this version that is as it was written: a record of anything else is an error of kind
// Usage, a damaged one of kind Data.
func readOwn(dir string) (*Record, error) {
	r := &Record{}
	return r, rundir.ReadOwn(dir, r)
}

// newRecord describes the run that the set-up is for.
func (s *setup) newRecord() (*Record, error) {
	r := &Record{Plan: s.plan, Run: rundir.Run{
		Kind: rundir.Kind, Version: proc.Version(), Go: runtime.Version(), Kernels: kernels(s.be),
		Positions: s.base.Record(s.pos.Positions), Options: s.options(), Origins: s.origins(),
		Weights: s.base.Held, Ranks: s.c.Ranks.Size(), Chain: s.c.Ranks.Divided(), Seed: s.c.Seed,
		Device: deviceKind(s.be.Name()), DType: s.be.Act().String(), Steps: s.steps, FullSteps: s.fullSteps(),
	}}
	var err error
	var weights []string
	if s.base.Weights != nil {
		weights = s.base.Weights.Files
	}
	if r.Model, err = rundir.FingerprintModel(s.base.Dir, weights); err != nil {
		return nil, err
	}
	if s.tok != nil {
		if r.Tokenizer, err = files.Each(files.Sample, s.tok.Files()); err != nil {
			return nil, err
		}
	}
	if a := s.base.Adapter; a != nil {
		if r.Adapter, err = files.Each(files.Sample, append([]string{filepath.Join(a.Dir, rundir.AdapterConfigFile)},
			a.Files...)); err != nil {
			return nil, err
		}
	}
	if r.Data, err = s.set.Fingerprints(); err != nil {
		return nil, err
	}
	if s.evalSet != nil {
		r.EvalData, err = s.evalSet.Fingerprints()
	}
	if s.machine.MultipliesFP8() {
		r.Kernels += ", products in FP8"
	}
	return r, err
}

// deviceKind is a backend's name without the device's number.
func deviceKind(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}

// kernels names what the last bits of a step depend on beside the plan and the program.
func kernels(be ops.Backend) string {
	switch b := be.(type) {
	case ops.Card:
		return b.Chip().Name
	case interface{ Set() string }:
		return b.Set()
	}
	return be.Name()
}

// options are the options that a run must have for this one to go on with it, as text.
func (s *setup) options() map[string]string {
	out := map[string]string{}
	for _, x := range s.settings() {
		switch x.Resume {
		case Match, Planned, Length:
			out[string(x.Option)] = files.Kept(x.Text())
		}
	}
	s.c.Meant(out, s.base.Desc().C, s.steps)
	if s.base.Held == "" {
		delete(out, "weights") // as runs had it before there was a choice
	}
	if s.base.Held != load.InFP8 || s.c.Products == load.AsStored {
		delete(out, "products") // without effect, or as if it were not there
	}
	if s.base.Config.Windows == nil {
		delete(out, "sliding-window") // without effect
	}
	scored := s.work.Score
	if s.work.Last != nil {
		scored = append(slices.Clip(scored), s.work.Last.Score...)
	}
	for _, e := range scored {
		if e.Group > 0 && fmt.Sprint(e.Group) != out["group-size"] { // s2 for validation alone
			out["group-size (validation)"] = fmt.Sprint(e.Group)
		}
	}
	if sum, err := template.Sum(s.c.Documents.Template); err == nil && sum != "" {
		out["template (sha256)"] = short(sum)
	}
	if w := s.set.Weights(); slices.Max(w) > 0 {
		out["data (weights)"] = fmt.Sprint(w)
	}
	if n := s.set.Files(); len(n) > 1 {
		out["data (files of each)"] = fmt.Sprint(n)
	}
	out[readAs] = strings.Join(s.set.ReadAs(), ", ")
	if s.evalSet != nil {
		if n := s.evalSet.Files(); len(n) > 1 {
			out["eval-data (files of each)"] = fmt.Sprint(n)
		}
	}
	return out
}

// readAs is where a record has what data was found to be. Records of older versions have none.
const readAs = "data (read as)"

// Meant puts what options mean in a model of a width, in a run of so many steps (0: not counted), in the place of what
// was written, in a record of them: a share and a rate can be written in several ways, a group in two, and a rate may
// be the recipe's.
func (c *Options) Meant(record map[string]string, width, steps int) {
	for _, name := range []string{"full-last", "group"} {
		delete(record, name)
	}
	lr, embed := c.RatesFor(width, steps)
	record["attn"], record["lr"], record["lr-embed"] = c.Attn, string(written(lr)), string(written(embed))
	if !c.Full.None() {
		record["full-last"] = c.Full.String()
	}
	if g, err := c.GroupFor(c.Ctx); err == nil { // as it was when the work was stated
		record["group-size"] = fmt.Sprint(g)
	}
}

// origins are what gave each of the options that recipes set.
func (s *setup) origins() map[string]string {
	out := map[string]string{}
	for _, x := range s.settings() {
		if x.Recipe {
			out[string(x.Option)] = x.From
		}
	}
	return out
}

// adapters are the options that an adapter to go on from answers.
var adapters = map[errs.Option]bool{"rank": true, "alpha": true, "rslora": true, "targets": true, "train-embed": true,
	"train-norm": true,
	"train-head": true}

// written is a number as options spell it.
func written(x float64) Number { return Number(strconv.FormatFloat(x, 'g', -1, 64)) }

// settings are the run's options with their values; what comes from the adapter has the adapter's.
func (s *setup) settings() []Setting {
	out := with(with(slices.Clone(s.c.Settings), "lr", written(s.lr)), "lr-embed", written(s.lrEmbed))
	out = with(out, "sliding-window", Number(s.base.Window.String()))
	out = with(with(with(out, "model", s.c.Model), "data", s.c.Data), "out", s.c.Out)
	if len(s.c.EvalData) == 0 {
		out = slices.DeleteFunc(out, func(x Setting) bool { return x.Option == "eval-data" })
	}
	if a := s.base.Adapter; a != nil {
		out = with(with(with(out, "rank", a.Config.Rank), "alpha", a.Config.Alpha), "targets", a.Targets())
		out = with(out, "train-embed", s.tr.Whole[s.base.Desc().EmbedName()])
		out = with(out, "train-norm", s.base.Desc().TrainsNorms(s.tr))
		d := s.base.Desc()
		out = with(with(out, "rslora", a.Config.RSLoRA), "train-head", s.tr.Whole[d.HeadName()] || d.Tied &&
			s.tr.Whole[d.EmbedName()])
		for i := range out {
			if adapters[out[i].Option] {
				out[i].From = "adapter"
			}
		}
	}
	return out
}

// compare refuses to go on with a run that is not the same, naming the first difference with both values. What may make
// a difference that cannot be seen is said on log. An option that the saved run does not speak of is younger than it: a
// run that did not know it did what its default says.
func (r *Record) compare(saved *Record, where string, settings map[string]Setting, replan bool, log io.Writer) error {
	if err := r.differ(saved, func(name string) bool {
		x, option := settings[name]
		_, known := saved.Options[name]
		return replan && x.Resume == Planned || x.Resume == Length && saved.constant() && r.constant() ||
			!known && (option && !x.Given || name == readAs)
	}, func(what string, was, is any) error {
		differs := fmt.Sprintf("%s: %s was %v, now it is %v; give what the saved run had, or another %s", where, what, was,
			is, errs.Option("out"))
		for name, x := range settings {
			if x.Resume == Planned && errs.Option(name).String() == what {
				return errs.Usagef("%s, or accept a new plan and other last bits: %w", differs, anew)
			}
		}
		return errs.Usagef("%s", differs)
	}, log); err != nil {
		return err
	}
	for _, d := range []struct{ what, was, is string }{
		{"longlora", saved.Version + " (" + saved.Go + ")", r.Version + " (" + r.Go + ")"}, {"kernels for", saved.Kernels,
			r.Kernels},
	} {
		if d.was != d.is && saved.Device == r.Device {
			fmt.Fprintf(log, "note: the saved run was computed with %s %s, this is %s: the last bits may differ\n", d.what,
				d.was, d.is)
		}
	}
	if !replan && saved.Device != r.Device {
		return errs.NoFitf("%s: the saved plan is for %s, this is %s; accept a new plan and other last bits: %w", where,
			saved.Device, r.Device, anew)
	}
	return nil
}

// differ is what refuse makes of the first difference between two records of what a run is made of; free says which
// options may differ. What may make a difference that cannot be seen is said on log.
func (r *Record) differ(saved *Record, free func(name string) bool, refuse func(what string, was, is any) error,
	log io.Writer) error {
	if saved.Model.Config != r.Model.Config {
		return refuse(errs.Option("model").String()+": config.json", "of sha256 "+short(saved.Model.Config), "of sha256 "+
			short(r.Model.Config))
	}
	for _, f := range []struct {
		what    string
		was, is []files.Fingerprint
	}{
		{errs.Option("model").String(), saved.Model.Files, r.Model.Files}, {"the tokenizer", saved.Tokenizer, r.Tokenizer},
		{errs.Option("adapter").String(), saved.Adapter, r.Adapter}, {errs.Option("data").String(), saved.Data, r.Data},
		{errs.Option("eval-data").String(), saved.EvalData, r.EvalData},
	} {
		for i := range max(len(f.was), len(f.is)) {
			was, is := describe(f.was, i), describe(f.is, i)
			if was != is {
				return refuse(f.what, was, is)
			}
			if f.is[i].Since(f.was[i]) == files.Touched {
				fmt.Fprintf(log, "note: %s: %s was written or copied again since the run began; its size and samples of it are "+
					"the same\n", f.what, f.is[i].Name)
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
		if was, is := saved.Options[n], r.Options[n]; was != is && !free(n) {
			return refuse(errs.Option(n).String(), orNothing(was), orNothing(is))
		}
	}
	// with the same options: the adapter's record has changed
	if was, is := saved.Positions.String(), r.Positions.String(); was != is {
		return refuse("positions", was, is)
	}
	return nil
}

// constant reports whether no step depends on how many there are, by its rate or its way of attending.
func (r *Record) constant() bool {
	return r.Options["schedule"] == "constant" && r.Options["full-last"] == ""
}

func orNothing(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}

func short(sum string) string { return sum[:min(12, len(sum))] }

// describe is file i of a list in words.
func describe(list []files.Fingerprint, i int) string {
	if i >= len(list) {
		return "nothing"
	}
	return list[i].String()
}
