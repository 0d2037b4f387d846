package eval

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"longlora/internal/data/example"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/s2attn"
	"longlora/internal/tokenizer"
)

// Generated is what generate prints with --json.
type Generated struct {
	Model        string  `json:"model"`
	Template     string  `json:"template,omitempty"` // of --chat
	PromptTokens int     `json:"prompt_tokens"`
	Tokens       int     `json:"tokens"`
	IDs          []int32 `json:"ids"` // the tokens
	Text         string  `json:"text"`
	Stop         string  `json:"stop"` // eos, stop, length
	PrefillS     float64 `json:"prefill_s"`
	TokPerS      float64 `json:"tok_per_s"` // of the tokens after the first
}

// Continuation are the options of Generate.
type Continuation struct {
	Memory           plan.Memory
	StreamLayers     *int // nil: the planner's choice
	Model, Adapter   string
	Window           *s2attn.Choice // nil: as beside the adapter, or as the model has them
	Weights          string         // how frozen linear weights are held: "" or auto as beside the adapter
	Products         string         // how those in fp8 are multiplied: see load.CheckProducts
	Positions        Asked
	Chat             bool
	Template, System string // of a chat
	Own              template.OwnSystem
	AddBOS           string // auto, always or never
	MaxTokens        int
	Fewer            bool // MaxTokens may be less, where the positions reach no further
	Temperature      float64
	TopP             float64
	Seed             uint64
	Stop             []string
	Overlong         string // error or truncate
}

// Generate continues a prompt. Text goes to out as it becomes certain.
func Generate(ctx context.Context, g Continuation, prompt string, be ops.Backend, out, log io.Writer) (*Generated,
	error) {
	t, err := newTalker(g, be, log)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if !g.Chat {
		return t.continued(ctx, prompt, nil, out)
	}
	talk := &example.Talk{}
	talk.Say(prompt)
	return t.reply(ctx, talk, out)
}

// Talk answers conversations, each that next gives, until it gives nil; answered is called with each answer.
func Talk(ctx context.Context, g Continuation, be ops.Backend, out, log io.Writer, next func() (*example.Talk, error),
	answered func(*Generated) error) error {
	t, err := newTalker(g, be, log)
	if err != nil {
		return err
	}
	defer t.close()
	for {
		talk, err := next()
		if talk == nil || err != nil {
			return err
		}
		res, err := t.reply(ctx, talk, out)
		if err != nil && talk.Where != "" {
			return fmt.Errorf("%s: %w", talk.Where, err)
		}
		if err != nil {
			return err
		}
		if err := answered(res); err != nil {
			return err
		}
	}
}

// talker is a model that continues one text after another.
type talker struct {
	g     Continuation
	base  *load.Base
	enc   *tokenizer.Tokenizer
	asker *template.Asker // nil without a chat
	en    *engine
	said  told
	log   io.Writer
}

func newTalker(g Continuation, be ops.Backend, log io.Writer) (_ *talker, err error) {
	base, err := load.Open(g.Model, g.Adapter)
	if err != nil {
		return nil, err
	}
	t := &talker{g: g, base: base, said: told{}, log: log}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	base.Log = log
	if err := base.ChooseWindow(g.Window, g.Adapter); err != nil {
		return nil, err
	}
	if err := base.ChooseWeights(g.Weights, g.Adapter, true); err != nil {
		return nil, err
	}
	m := machine.Here(be)
	if err := base.ChooseProducts(g.Products, &m); err != nil {
		return nil, err
	}
	for _, n := range base.Notes {
		fmt.Fprintf(log, "note: %s\n", n)
	}
	if t.enc, err = tokenizer.Load(base.Dir, base.Config.EOS); err != nil {
		return nil, err
	}
	if err := t.enc.AddBOS(g.AddBOS); err != nil {
		return nil, err
	}
	for _, n := range t.enc.Notes() {
		fmt.Fprintf(log, "note: %s\n", n)
	}
	if g.Chat {
		own, err := template.ChatTemplate(base.Dir)
		if err != nil {
			return nil, err
		}
		if t.asker, err = template.NewAsker(g.Template, own, g.Own, t.enc, log); err != nil {
			return nil, err
		}
	}
	t.en, err = newEngine(be, base, g.Memory, g.StreamLayers)
	return t, err
}

func (t *talker) close() {
	if t.en != nil {
		t.en.close()
	}
	t.base.Close()
}

// reply answers a conversation.
func (t *talker) reply(ctx context.Context, talk *example.Talk, out io.Writer) (*Generated, error) {
	if t.g.System != "" && !talk.HasSystem() {
		talk.System(t.g.System)
	}
	a, err := t.asker.Ask(talk)
	if err != nil {
		return nil, err
	}
	return t.continued(ctx, a.Prompt, a, out)
}

// continued continues a text, which is a conversation where asked is not nil.
func (t *talker) continued(ctx context.Context, prompt string, asked *template.Asked, out io.Writer) (
	*Generated, error) {
	g, base, enc := t.g, t.base, t.enc
	w := &writer{g: &g, enc: enc, ends: ends(base, enc), stops: g.Stop, out: out, res: &Generated{Model: g.Model,
		IDs: []int32{}, Stop: "length"}}
	if asked != nil {
		w.chat(asked)
	}
	ids, err := enc.Encode(tokenizer.ReplaceInvalid(prompt))
	if err != nil {
		return nil, err
	}
	if id, ok := enc.BOS(); ok && (len(ids) == 0 || ids[0] != id) {
		ids = append([]int32{id}, ids...)
	}
	if len(ids) == 0 {
		return nil, errs.Usagef("%s: it is empty and the tokenizer has no token to begin with; give some text",
			errs.Option("prompt"))
	}
	for _, id := range ids {
		if int(id) >= base.Desc().V {
			return nil, errs.Dataf("%s has no row in the model, whose vocab_size is %d; take it out of the prompt",
				enc.Describe(id), base.Desc().V)
		}
	}
	if ids, w.most, err = room(g, base, ids, t.said, t.log); err != nil {
		return nil, err
	}
	n := len(ids) + w.most
	p, err := t.said.positions(base, g.Adapter, g.Positions, n, t.log)
	if err != nil {
		return nil, err
	}
	w.res.PromptTokens = len(ids)
	full := s2attn.Spec{Mode: s2attn.Full}
	r := plan.Request{Ctx: n, At: func(n int) (plan.Work, error) {
		w := t.en.work(plan.Session, n, full)
		w.Prompt = len(ids)
		return w, nil
	}, To: func(n int) errs.Advice {
		if n <= len(ids) {
			return nil // not even the prompt fits
		}
		return errs.Advice{{Option: "max-tokens", Value: strconv.Itoa(n - len(ids))}}
	}}
	err = t.en.run(r, full, base.Rope(p, n), func(r *model.Runner) error { return w.run(ctx, r, ids) })
	return w.res, base.Blame(err)
}

// ends are the tokens that end a text.
func ends(base *load.Base, enc *tokenizer.Tokenizer) map[int32]bool {
	out := map[int32]bool{}
	if id, ok := enc.EOS(); ok {
		out[id] = true
	}
	for _, id := range base.Config.EOS {
		out[int32(id)] = true
	}
	for _, mark := range []string{"<|eot_id|>", "<|im_end|>"} {
		if id, ok := enc.ID(mark); ok {
			out[id] = true
		}
	}
	return out
}

// writer turns tokens into text as they come and watches for where to stop.
type writer struct {
	g     *Continuation
	most  int // tokens to generate
	enc   *tokenizer.Tokenizer
	ends  map[int32]bool
	stops []string
	out   io.Writer
	res   *Generated
	text  strings.Builder
	said  int // bytes of text that are out
}

// chat ends the text by what ends an answer in a conversation's template.
func (w *writer) chat(a *template.Asked) {
	w.res.Template = a.Template
	if id, ok := w.enc.ID(a.End); ok {
		w.ends[id] = true
	}
	if a.End != "" { // which may come as text too, where it is no special token
		w.stops = append(slices.Clone(w.stops), a.End)
	}
}

func (w *writer) run(ctx context.Context, r *model.Runner, ids []int32) error {
	s := r.NewSession(len(ids) + w.most)
	defer s.Close()
	begun := time.Now()
	if err := s.Append(ids...); err != nil {
		return err
	}
	w.res.PrefillS = time.Since(begun).Seconds()
	stream, draw := w.enc.Stream(), newSampler(w.g)
	begun = time.Now()
	for {
		id, err := draw.next(s)
		if err != nil {
			return err
		}
		if err := proc.Broken(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errs.Interruptedf("interrupted after %d tokens", w.res.Tokens)
		}
		if w.ends[id] {
			w.res.Stop = "eos"
			break
		}
		w.res.Tokens, w.res.IDs = w.res.Tokens+1, append(w.res.IDs, id)
		text, err := stream.Next(id)
		stop := false
		if err == nil {
			stop, err = w.add(text, false)
		}
		if err != nil || stop {
			w.finish(begun)
			return err
		}
		if w.res.Tokens == w.most {
			break
		}
		if err := s.Append(id); err != nil {
			return err
		}
	}
	rest, err := stream.Rest()
	if err == nil {
		_, err = w.add(rest, true)
	}
	w.finish(begun)
	return err
}

// finish fills in what is known at the end.
func (w *writer) finish(begun time.Time) {
	w.res.Text = w.text.String()
	if n := w.res.Tokens - 1; n > 0 {
		w.res.TokPerS = float64(n) / time.Since(begun).Seconds()
	}
}

// add takes more text and writes what cannot be the beginning of a stop text. It reports whether one has come.
func (w *writer) add(more string, last bool) (stop bool, err error) {
	w.text.WriteString(more)
	all := w.text.String()
	end := len(all)
	for _, s := range w.stops {
		if i := strings.Index(all, s); i >= 0 && i <= end {
			end, stop = i, true
		}
	}
	if stop {
		w.res.Stop = "stop"
		w.text.Reset()
		w.text.WriteString(all[:end])
	} else if !last {
		end -= held(all, w.stops)
	}
	if end > w.said {
		_, err = io.WriteString(w.out, all[w.said:end])
		w.said = end
	}
	return stop, err
}

// held is the length of the longest end of text that begins a stop text.
func held(text string, stops []string) int {
	n := 0
	for _, s := range stops {
		for k := min(len(s)-1, len(text)); k > n; k-- {
			if strings.HasSuffix(text, s[:k]) {
				n = k
			}
		}
	}
	return n
}
