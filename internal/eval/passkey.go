package eval

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"crypto/sha256"

	"go.yaml.in/yaml/v3"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// Template are the words of the passkey task; {key} and {name} stand for what is drawn.
type Template struct {
	Intro    string   `yaml:"intro"`
	Filler   string   `yaml:"filler"`
	Fact     string   `yaml:"fact"`
	Question string   `yaml:"question"`
	Answer   string   `yaml:"answer"`
	Keys     []string `yaml:"keys"`
	Names    []string `yaml:"names"`
}

// Paper is the task of the paper's code (landmark attention's prompt).
var Paper = Template{
	Intro:    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.\n",
	Filler:   "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ",
	Fact:     "\nThe pass key is {key}. Remember it. {key} is the pass key.\n",
	Question: "\nWhat is the pass key? The pass key is",
	Answer:   " {key}",
}

// ReadTemplate reads a template file.
func ReadTemplate(path string) (Template, error) {
	var t Template
	b, err := os.ReadFile(path)
	if err != nil {
		return t, errs.Usagef("--passkey-template: %w", err)
	}
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&t); err != nil {
		return t, errs.Usagef("%s: %w", path, err)
	}
	for name, s := range map[string]string{"filler": t.Filler, "fact": t.Fact, "question": t.Question, "answer": t.Answer} {
		if s == "" {
			return t, errs.Usagef("%s: %s is missing", path, name)
		}
	}
	if !strings.Contains(t.Fact, "{key}") || !strings.Contains(t.Answer, "{key}") {
		return t, errs.Usagef("%s: fact and answer must hold {key}", path)
	}
	return t, nil
}

// Encoder is what passkey needs of a tokenizer.
type Encoder interface {
	Encode(text string) []int32
	BOS() (int32, bool)
}

// Trial is one prompt with the answer that is right.
type Trial struct{ Prompt, Answer []int32 }

// draw is a generator that depends on (seed, ctx, depth, trial) alone.
func draw(seed uint64, ctx, depth, trial int) *rand.Rand {
	var b [32]byte
	for i, v := range []uint64{seed, uint64(ctx), uint64(depth), uint64(trial)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return rand.New(rand.NewChaCha8(sha256.Sum256(b[:])))
}

// Make builds a trial: the longest filler with which prompt and answer fit into ctx tokens, the fact at depth
// (d+½)/depths of it.
func (t Template) Make(enc Encoder, ctx, d, depths, trial int, seed uint64) (Trial, error) {
	r := draw(seed, ctx, d, trial)
	key := fmt.Sprint(1 + r.IntN(50000))
	if len(t.Keys) > 0 {
		key = t.Keys[r.IntN(len(t.Keys))]
	}
	name := ""
	if len(t.Names) > 0 {
		name = t.Names[r.IntN(len(t.Names))]
	}
	fill := strings.NewReplacer("{key}", key, "{name}", name).Replace
	build := func(n int) Trial {
		at := int((float64(d) + 0.5) / float64(depths) * float64(n))
		prompt := fill(t.Intro) + strings.Repeat(t.Filler, at) + fill(t.Fact) + strings.Repeat(t.Filler, n-at) + fill(t.Question)
		whole := enc.Encode(prompt + fill(t.Answer))
		x := Trial{Prompt: enc.Encode(prompt)}
		if id, ok := enc.BOS(); ok {
			x.Prompt, whole = append([]int32{id}, x.Prompt...), append([]int32{id}, whole...)
		}
		x.Answer = whole[min(len(x.Prompt), len(whole)):]
		return x
	}
	size := func(x Trial) int { return len(x.Prompt) + len(x.Answer) }
	if n := size(build(0)); n > ctx {
		return Trial{}, errs.Dataf("--ctx %d: too short for the passkey task, whose fixed words take %d tokens", ctx, n)
	}
	lo, hi := 0, 1
	for size(build(hi)) <= ctx {
		lo, hi = hi, hi*2
	}
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; size(build(mid)) <= ctx {
			lo = mid
		} else {
			hi = mid
		}
	}
	return build(lo), nil
}

// Cell counts one depth's trials.
type Cell struct {
	Depth   float64 `json:"depth"`
	Trials  int     `json:"trials"`
	Correct int     `json:"correct"`
}

// Ask runs one trial: greedy, right only if every token of the answer is.
func Ask(r *model.Runner, x Trial) (bool, error) {
	s := r.NewSession(len(x.Prompt) + len(x.Answer))
	defer s.Close()
	if err := s.Append(x.Prompt...); err != nil {
		return false, err
	}
	for i, want := range x.Answer {
		got, err := s.Best()
		if err != nil || got != want {
			return false, err
		}
		if i+1 < len(x.Answer) {
			if err := s.Append(got); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// Passkey runs all trials of one length that have no result yet; done is told of each.
func Passkey(ctx context.Context, r *model.Runner, t Template, enc Encoder, length, depths, trials int, seed uint64, have map[[2]int]bool, done func(d, k int, right bool) error) ([]Cell, error) {
	cells := make([]Cell, depths)
	for d := range cells {
		cells[d] = Cell{Depth: (float64(d) + 0.5) / float64(depths), Trials: trials}
		for k := range trials {
			right, ok := have[[2]int{d, k}]
			if !ok {
				if ctx.Err() != nil {
					return nil, errs.Interruptedf("interrupted in the passkey task at %d tokens", length)
				}
				x, err := t.Make(enc, length, d, depths, k, seed)
				if err == nil {
					right, err = Ask(r, x)
				}
				if err == nil {
					err = done(d, k, right)
				}
				if err != nil {
					return nil, err
				}
			}
			if right {
				cells[d].Correct++
			}
		}
	}
	return cells, nil
}
