package eval

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/config"
	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/tokenizer"
	"longlora/internal/ui"
)

// Result is one task at one length.
type Result struct {
	Task     string   `json:"task"`
	Model    string   `json:"model"`
	Adapter  *string  `json:"adapter"`
	Protocol string   `json:"protocol,omitempty"`
	Ctx      int      `json:"ctx"`
	Stride   int      `json:"stride,omitempty"`
	Windows  int      `json:"windows,omitempty"`
	Loss     *float64 `json:"loss,omitempty"`
	PPL      *float64 `json:"ppl,omitempty"`
	Trials   int      `json:"trials,omitempty"`
	Accuracy *float64 `json:"accuracy,omitempty"`
	Cells    []Cell   `json:"cells,omitempty"`
	Attn     string   `json:"attn"`
	Rope     string   `json:"rope"`
	DType    string   `json:"dtype"`
}

// Report is what eval prints.
type Report struct {
	Results []Result `json:"results"`
}

// Job is an evaluation with what a caller may decide beside the options.
type Job struct {
	*config.Eval
	Stream    Stream          // read instead of --data
	Positions *rope.Positions // used instead of the checkpoint's
	SkipShort bool            // leave out, with a note, what is too short or too long for the data
}

// evaluation is one model's.
type evaluation struct {
	cfg    Job
	be     ops.Backend
	log    io.Writer
	name   string
	base   *load.Base
	enc    *tokenizer.Tokenizer
	encErr error
	stream Stream
	keep   *journal
	engine *engine
}

// Run evaluates every model, task and length.
func Run(ctx context.Context, cfg Job, be ops.Backend, log io.Writer) (Report, error) {
	var rep Report
	j, err := openJournal(cfg.Out)
	if err != nil {
		return rep, err
	}
	defer j.close()
	for _, name := range cfg.Models {
		e := &evaluation{cfg: cfg, be: be, log: log, name: name, keep: j, stream: cfg.Stream}
		rs, err := e.run(ctx)
		if t, ok := e.stream.(*data.IDs); ok && cfg.Stream == nil {
			t.Close()
		}
		if err != nil {
			return rep, err
		}
		rep.Results = append(rep.Results, rs...)
	}
	if cfg.Out != "" {
		if err := ckpt.MakeDir(cfg.Out); err != nil {
			return rep, err
		}
		return rep, ckpt.WriteJSON(filepath.Join(cfg.Out, "results.json"), rep)
	}
	return rep, nil
}

func (e *evaluation) run(ctx context.Context) (rs []Result, err error) {
	if e.base, err = load.Open(e.name, e.cfg.Adapter); err != nil {
		return nil, err
	}
	defer e.base.Close()
	e.base.Log = e.log
	if e.engine, err = newEngine(e.be, e.base, &e.cfg.Common); err != nil {
		return nil, err
	}
	defer e.engine.close()
	for _, n := range e.base.Notes {
		fmt.Fprintf(e.log, "note: %s\n", n)
	}
	e.enc, e.encErr = tokenizer.Load(e.base.Dir, e.base.Config.EOS)
	for _, task := range e.cfg.Tasks {
		for _, n := range e.cfg.Ctx {
			r, err := e.task(ctx, task, n)
			if e.cfg.SkipShort && errs.Code(err) == int(errs.Data) {
				fmt.Fprintf(e.log, "note: %s at %d tokens is left out: %v\n", task, n, err)
				continue
			}
			if err != nil {
				return nil, err
			}
			rs = append(rs, r)
		}
	}
	return rs, nil
}

// positions are the checkpoint's as they are, those beside the adapter, or the flags'.
func (e *evaluation) positions(n int) (rope.Positions, error) {
	if e.cfg.Positions != nil {
		return *e.cfg.Positions, nil
	}
	return positions(e.base, e.cfg.Adapter, &e.cfg.Eval.Rope, e.cfg.Values, n)
}

func positions(base *load.Base, adapter string, r *config.Rope, v *config.Values, n int) (rope.Positions, error) {
	if v.Explicit("rope") || v.Explicit("rope-factor") {
		p, _, err := base.Positions.Resolve(rope.Request{Rope: r.Rope, Factor: r.Factor, BaseCtx: r.BaseCtx, Ctx: n}, base.Desc().D)
		return p, err
	}
	if adapter == "" {
		return base.Positions, nil
	}
	p, _, err := base.Beside(adapter)
	return p, err
}

// task runs one task at one length.
func (e *evaluation) task(ctx context.Context, task string, n int) (Result, error) {
	res := Result{Task: task, Model: e.name, Ctx: n, Attn: e.cfg.Attn, DType: "fp32"}
	if e.be.Act() == tensor.BF16 {
		res.DType = "bf16"
	}
	if e.cfg.Adapter != "" {
		res.Adapter = &e.cfg.Adapter
	}
	if err := e.base.CheckWindow(n); err != nil {
		return res, err
	}
	p, err := e.positions(n)
	if err != nil {
		return res, err
	}
	res.Rope = p.String()
	spec, err := e.spec(n)
	if err != nil {
		return res, err
	}
	var ws []Window
	if task == "ppl" {
		if ws, err = e.windows(ctx, n); err != nil {
			return res, err
		}
	} else if e.encErr != nil {
		return res, e.encErr
	}
	key := e.key(task, n, p)
	work := func(r *model.Runner) error {
		if task == "ppl" {
			return e.perplexity(ctx, r, ws, key, &res)
		}
		return e.passkey(ctx, r, n, key, &res)
	}
	return res, e.base.Blame(e.engine.run(n, spec, e.base.Rope(p, n), work))
}

func (e *evaluation) spec(n int) (s2attn.Spec, error) {
	if e.cfg.Attn == "full" {
		return s2attn.Spec{Mode: s2attn.Full}, nil
	}
	g, err := e.cfg.GroupFor(e.cfg.Values, n)
	if err != nil {
		return s2attn.Spec{}, err
	}
	if e.cfg.Shift == "roll" {
		if g%2 != 0 || n%g != 0 {
			return s2attn.Spec{}, errs.Usagef("--shift roll: --ctx %d must be a multiple of an even group size, which is %d", n, g)
		}
		return s2attn.Spec{Mode: s2attn.Roll, Group: g}, nil
	}
	return s2attn.Spec{Mode: s2attn.Split, Group: g}, nil
}

// windows reads the stream, once, and lists its windows at a length.
func (e *evaluation) windows(ctx context.Context, n int) ([]Window, error) {
	if e.stream == nil {
		o, _, err := load.Documents(e.base.Dir, e.base.Config.Vocab, e.base.Config.EOS, &e.cfg.Documents, e.cfg.Values)
		if err != nil {
			return nil, err
		}
		o.Paths, o.Log = e.cfg.Data, e.log
		t, err := data.Stream(ctx, o)
		if err != nil {
			return nil, err
		}
		e.stream = t
	}
	ws := Limit(Windows(e.cfg.Protocol, e.stream.Len(), n, e.cfg.Stride), e.cfg.Limit)
	if len(ws) == 0 {
		return nil, errs.Dataf("--data: %d tokens give no window of --ctx %d under the %s protocol; give more text or a smaller --ctx", e.stream.Len(), n, e.cfg.Protocol)
	}
	return ws, nil
}

func (e *evaluation) perplexity(ctx context.Context, r *model.Runner, ws []Window, key string, res *Result) error {
	bar := ui.NewProgress(e.log, fmt.Sprintf("ppl %d", res.Ctx), len(ws), 0)
	defer bar.Done()
	have := map[int]Score{}
	for i := range ws {
		if l, ok := e.keep.have[fmt.Sprintf("%s/%d", key, ws[i].Lo)]; ok && l.Score != nil {
			have[i] = *l.Score
		}
	}
	s, err := ScoreAll(ctx, r, e.stream, ws, have, func(i int, s Score) error {
		bar.Step(fmt.Sprintf("loss %.4f", s.Sum/float64(s.Count)))
		return e.keep.add(line{Key: fmt.Sprintf("%s/%d", key, ws[i].Lo), Score: &s})
	})
	if err != nil {
		return err
	}
	loss := Mean(e.cfg.Protocol, s)
	ppl := math.Exp(loss)
	res.Protocol, res.Stride, res.Windows, res.Loss, res.PPL = e.cfg.Protocol, e.cfg.Stride, len(ws), &loss, &ppl
	return nil
}

func (e *evaluation) passkey(ctx context.Context, r *model.Runner, n int, key string, res *Result) error {
	t := Paper
	if e.cfg.Words != "" {
		var err error
		if t, err = ReadTemplate(e.cfg.Words); err != nil {
			return err
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("passkey %d", n), e.cfg.Depths*e.cfg.Trials, 0)
	defer bar.Done()
	have := map[[2]int]bool{}
	for d := range e.cfg.Depths {
		for k := range e.cfg.Trials {
			if l, ok := e.keep.have[fmt.Sprintf("%s/%d/%d", key, d, k)]; ok && l.Right != nil {
				have[[2]int{d, k}] = *l.Right
			}
		}
	}
	cells, err := Passkey(ctx, r, t, e.enc, n, e.cfg.Depths, e.cfg.Trials, e.cfg.Seed, have, func(d, k int, right bool) error {
		bar.Step(fmt.Sprintf("depth %d", d+1))
		return e.keep.add(line{Key: fmt.Sprintf("%s/%d/%d", key, d, k), Right: &right})
	})
	if err != nil {
		return err
	}
	res.Cells = cells
	correct := 0
	for _, c := range cells {
		res.Trials, correct = res.Trials+c.Trials, correct+c.Correct
	}
	a := float64(correct) / float64(res.Trials)
	res.Accuracy = &a
	return nil
}

// key names everything that a kept result depends on.
func (e *evaluation) key(task string, n int, p rope.Positions) string {
	h := sha256.New()
	var files []string
	if e.base.Weights != nil {
		files = e.base.Weights.Files
	}
	if e.base.Adapter != nil {
		files = append(append([]string{}, files...), e.base.Adapter.Files...)
	}
	prints, err := ckpt.PrintModel(e.base.Dir, files)
	fmt.Fprintln(h, prints, err, task, n, p.Record(), e.cfg.Attn, e.cfg.Shift, e.cfg.Group, e.cfg.GroupSize)
	if task == "ppl" {
		fmt.Fprintln(h, e.cfg.Protocol, e.cfg.Stride, e.stream.Len())
		const piece = 1 << 16
		for lo := 0; lo < e.stream.Len(); lo += piece {
			for _, id := range e.stream.Slice(lo, min(lo+piece, e.stream.Len())) {
				h.Write([]byte{byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)})
			}
		}
	} else {
		b, err := os.ReadFile(e.cfg.Words)
		fmt.Fprintln(h, e.cfg.Depths, e.cfg.Seed, e.cfg.Words != "", string(b), err == nil)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// line is one kept result.
type line struct {
	Key   string `json:"key"`
	Score *Score `json:"score,omitempty"`
	Right *bool  `json:"right,omitempty"`
}

// journal keeps results as they come; without a folder it keeps nothing.
type journal struct {
	dir  string
	have map[string]line
	end  int64    // of the whole lines in the file
	f    *os.File // opened with the first new result
}

func openJournal(dir string) (*journal, error) {
	j := &journal{dir: dir, have: map[string]line{}}
	if dir == "" {
		return j, nil
	}
	f, err := os.Open(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		b, err := r.ReadBytes('\n')
		var l line
		if err != nil || json.Unmarshal(bytes.TrimSpace(b), &l) != nil {
			return j, nil // the torn end of a killed run
		}
		j.have[l.Key] = l
		j.end += int64(len(b))
	}
}

func (j *journal) path() string { return filepath.Join(j.dir, "windows.jsonl") }

// open makes the folder and cuts off what a killed run left torn.
func (j *journal) open() error {
	if err := ckpt.MakeDir(j.dir); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	j.f = f
	if err := f.Truncate(j.end); err != nil {
		return errs.Dataf("%w", err)
	}
	if _, err := f.Seek(j.end, io.SeekStart); err != nil {
		return errs.Dataf("%w", err)
	}
	return nil
}

func (j *journal) add(l line) error {
	if j.dir == "" {
		return nil
	}
	if j.f == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return errs.Dataf("%w", err)
	}
	return nil
}

func (j *journal) close() {
	if j.f != nil {
		j.f.Close()
	}
}
