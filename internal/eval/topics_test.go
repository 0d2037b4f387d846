package eval

import (
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

func TestPositions(t *testing.T) {
	for _, n := range []int{2, 15, 16, 17, 100, 4096} {
		s := Score{Bins: make([]Sum, binCount)}
		for k := 1; k < n; k++ {
			if b := binOf(k, n); k < b*n/binCount || k >= (b+1)*n/binCount {
				t.Fatalf("place %d of %d is in part %d", k, n, b)
			}
			s.Bins[binOf(k, n)].add(float64(k))
		}
		tokens := 0
		for _, p := range Positions(n, []Score{s, s}) {
			tokens += p.Tokens
			if want := float64(max(p.From, 1)+p.To-1) / 2; p.Loss != want {
				t.Errorf("n %d: %+v, want a mean of %v", n, p, want)
			}
		}
		if tokens != 2*(n-1) {
			t.Errorf("n %d: %d tokens", n, tokens)
		}
	}
}

func golden(t *testing.T) *tokenizer.Tokenizer {
	enc, err := tokenizer.Load("../../testdata/tokenizer", []int{2})
	if err != nil {
		t.Fatal(err)
	}
	return enc
}

func TestTopicsPrompt(t *testing.T) {
	enc := golden(t)
	for _, ctx := range []int{1500, 6000} {
		x, err := MakeTopics(enc, ctx, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := MakeTopics(enc, ctx, 0, 1)
		other, _ := MakeTopics(enc, ctx, 1, 1)
		if size := len(x.Prompt) + x.Room; size > ctx || !slices.Equal(x.Prompt, again.Prompt) || slices.Equal(x.Prompt, other.Prompt) {
			t.Errorf("ctx %d: %d tokens, or not a function of seed and trial", ctx, size)
		}
		text, err := enc.Decode(x.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		last := -1
		for i, topic := range x.Topics {
			at := strings.Index(text, topic)
			if at <= last || slices.Contains(x.Topics[:i], topic) {
				t.Errorf("topic %q at %d after %d", topic, at, last)
			}
			last = at
		}
	}
	if _, err := MakeTopics(enc, 100, 0, 1); errs.Code(err) != 4 {
		t.Errorf("too short: %v", err)
	}
	x := Topics{Topics: []string{"the age of sundials", "the care of acorns"}}
	for text, want := range map[string][2]bool{" The age of  sundials.": {true, true}, "it was the age of sundials": {true, false},
		"the care of acorns, the age of sundials": {}, "sundials": {}} {
		if s := x.judge(text); s.Correct != want[0] || s.Exact != want[1] {
			t.Errorf("%q: %+v", text, s)
		}
	}
	for i, a := range subjects {
		for j, b := range subjects {
			if i != j && strings.Contains(a, b) {
				t.Errorf("%q holds %q", a, b)
			}
		}
	}
}

// The prompt's last t and the answer's h are one token: it is the answer's first.
func TestMergedAnswer(t *testing.T) {
	enc := golden(t)
	e := &encoding{enc: enc}
	x := e.split("say: t", "he end")
	if !slices.Equal(slices.Concat(x.Prompt, x.Answer), e.withBOS("say: the end")) {
		t.Error("prompt and answer are not the whole text's tokens")
	}
	p, errP := enc.Decode(x.Prompt)
	a, errA := enc.Decode(x.Answer)
	if errP != nil || errA != nil || strings.HasSuffix(p, "t") || !strings.HasSuffix(a, "the end") {
		t.Errorf("%q, %q", p, a)
	}
}
