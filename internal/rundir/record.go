package rundir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
)

// Run is run.json without its plan: what a run is made of and how far it is. Each checkpoint holds one too.
type Run struct {
	Kind      string    `json:"longlora"` // Kind
	Version   string    `json:"version"`
	Go        string    `json:"go"`
	Kernels   string    `json:"kernels"` // the instruction set or the card, on which last bits depend
	Positions Positions `json:"positions"`
	// how the blocks' frozen linear weights lay, where they were held otherwise than they are stored
	Weights   string              `json:"weights,omitempty"`
	Model     Model               `json:"model"`
	Tokenizer []files.Fingerprint `json:"tokenizer"`
	Adapter   []files.Fingerprint `json:"adapter"`
	Data      []files.Fingerprint `json:"data"`
	EvalData  []files.Fingerprint `json:"eval_data"`
	Options   map[string]string   `json:"options"`
	Origins   map[string]string   `json:"origins"`         // of the options that recipes set: what gave their values
	Ranks     int                 `json:"ranks,omitempty"` // processes that did its steps; 0 is one
	Chain     int                 `json:"chain,omitempty"` // of them that divided each row; 0 is one
	Seed      uint64              `json:"seed"`
	Device    string              `json:"device"`
	DType     string              `json:"dtype"`
	Steps     int                 `json:"steps"`      // of the whole run
	FullSteps int                 `json:"full_steps"` // its last ones, that attend fully
	State     State               `json:"state"`
	Failed    string              `json:"failed,omitempty"` // why its numbers ended it before its last step
	Result    *Result             `json:"result,omitempty"` // of a finished run
	// what a checkpoint consists of beside its record, or a finished run's result
	Files []files.Fingerprint `json:"files,omitempty"`
}

// Kind is what a record of this version calls itself.
const (
	anyKind = "training run "
	Kind    = anyKind + "2"
)

// Positions are where tokens stand and how far back they see.
type Positions struct {
	rope.Record
	Window *s2attn.Choice `json:"sliding_window,omitempty"` // nil for a model without windows
}

// State is how far a run is.
type State struct {
	Step    int      `json:"step"`              // steps that are done
	Tokens  int64    `json:"tokens"`            // of all of them
	Seconds float64  `json:"seconds"`           // of all of them
	Loss    float64  `json:"loss"`              // of the last one
	Stopped bool     `json:"stopped,omitempty"` // the run stopped early: this was its last step
	Pending *Metrics `json:"pending,omitempty"` // the last step's line where its validation is still to be done
}

// Result is what a finished run prints.
type Result struct {
	Steps     int     `json:"steps"`
	FullSteps int     `json:"full_steps"` // of them, that attended fully
	Loss      float64 `json:"loss"`       // of the last step
	LossMean  float64 `json:"loss_mean"`  // over the last tenth of the steps, at least one
	Tokens    int64   `json:"tokens"`
	Seconds   float64 `json:"seconds"`
	Out       string  `json:"out"`
	Stopped   bool    `json:"stopped_early,omitempty"`
	Validation
}

// Sum fills in what a run's lines of metrics say beside its last step.
func (r *Result) Sum(lines []Metrics) {
	last := lines[len(lines)-min(len(lines), max(1, len(lines)/10)):]
	r.LossMean = 0
	for i, m := range last {
		r.LossMean += (m.Loss - r.LossMean) / float64(i+1)
	}
	r.Validation = Validation{}
	for _, m := range lines {
		if m.Any() {
			r.Validation = m.Validation
		}
	}
}

// Model is a checkpoint's fingerprint: sha256 of config.json, and each weight file's.
type Model struct {
	Config string              `json:"config_sha256"`
	Files  []files.Fingerprint `json:"files"`
}

// FingerprintModel fingerprints a checkpoint's config.json and the files given.
func FingerprintModel(dir string, weights []string) (Model, error) {
	const name = "config.json"
	c, err := files.Whole(filepath.Join(dir, name), name)
	if err != nil {
		return Model{}, err
	}
	m := Model{Config: c.SHA256}
	m.Files, err = files.Each(files.Sample, weights)
	return m, err
}

// Record is what has a Run in it: the record of whoever plans and trains.
type Record interface{ own() error }

// own refuses a record of another kind, and numbers that no run comes to.
func (r *Run) own() error {
	if r.Kind != Kind {
		return errOther()
	}
	st := r.State
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	if st.Step < 0 || st.Tokens < 0 || !(st.Seconds >= 0) || !finite(st.Seconds) || !finite(st.Loss) ||
		st.Pending != nil && st.Pending.Step != st.Step {
		return errs.Dataf("state: %+v is nothing that a run comes to", st)
	}
	return nil
}

func errOther() error {
	return errs.Usagef("of another version of this program, or of another program; go on with that one, or give another "+
		"%s", errs.Option("out"))
}

// maxRecord is longer than the record of a run over a million files, in bytes.
const maxRecord = 256 << 20

// ReadOwn reads a record of this version that is as it was written: a record of anything else is an error of kind
// Usage, a damaged one of kind Data.
func ReadOwn(dir string, r Record) error {
	path := filepath.Join(dir, RecordFile)
	b, err := files.Read(path, maxRecord)
	if err != nil {
		return err
	}
	if err := Parse(b, r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Parse is ReadOwn of a record's text.
func Parse(b []byte, r Record) error {
	if _, whole := files.Sealed(b); !whole {
		if bytes.Contains(b[:min(len(b), 200)], []byte(`"longlora": "`+anyKind)) {
			return errs.Dataf("it is not as it was written: damaged, or changed by hand")
		}
		return errs.Usagef("not the record of a training run of this version; give another %s", errs.Option("out"))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(r) != nil {
		return errOther()
	}
	return r.own()
}

// Read reads a run's or a checkpoint's record of any version.
func Read(dir string, r Record) error { return files.ReadSealed(filepath.Join(dir, RecordFile), r) }

// Write writes a record, sealed.
func Write(dir string, r Record) error { return files.WriteSealed(filepath.Join(dir, RecordFile), r) }

// Head is what a record of any version, or one written by hand, says to those who read the adapter beside it.
type Head struct {
	Kind      string          `json:"longlora"`
	Positions *Positions      `json:"positions"`
	Weights   string          `json:"weights"`
	Model     json.RawMessage `json:"model"`  // of a run of this program
	Result    json.RawMessage `json:"result"` // of a finished run
	Files     json.RawMessage `json:"files"`  // of a checkpoint
}

// Differs says in words how a checkpoint is not the one that the run trained beside; "" where it is, as far as the
// record tells.
func (h *Head) Differs(now Model) string {
	var was Model
	if json.Unmarshal(h.Model, &was) != nil || was.Config == "" {
		return ""
	}
	for i := range max(len(was.Files), len(now.Files)) {
		switch {
		case i >= len(was.Files):
			return fmt.Sprintf("%s is here, and was not there", now.Files[i])
		case i >= len(now.Files):
			return fmt.Sprintf("%s was there, and is not here", was.Files[i])
		case now.Files[i].Since(was.Files[i]) == files.Changed:
			return fmt.Sprintf("%s is here, and %s was there", now.Files[i], was.Files[i])
		}
	}
	if was.Config != now.Config {
		return "the weights are the same, and config.json is another"
	}
	return ""
}

// ReadHead reads the record in a folder; nil where there is none.
func ReadHead(dir string) (*Head, error) {
	path := filepath.Join(dir, RecordFile)
	if _, err := os.Stat(path); dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	h := &Head{}
	if err := files.ReadSealed(path, h); err != nil {
		return nil, err
	}
	var given struct {
		Positions struct {
			Window json.RawMessage `json:"sliding_window"`
		} `json:"positions"`
	}
	if err := files.ReadSealed(path, &given); err != nil {
		return nil, err
	}
	if string(given.Positions.Window) == "null" { // which would be read as nothing said
		return nil, errs.Dataf(
			`%s: positions.sliding_window: null is not "keep", "off" or a number of tokens; give one of these,
				or leave the field out`, path)
	}
	return h, nil
}
