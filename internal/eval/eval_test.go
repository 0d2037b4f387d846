package eval

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
)

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		protocol       string
		n, ctx, stride int
		want           []Window
	}{
		{"longlora", 20, 8, 4, []Window{{0, 8, 1}, {4, 12, 5}}}, // starts 0 4 8, the last left out
		{"longlora", 8, 8, 4, nil},
		{"sliding", 20, 8, 4, []Window{{0, 8, 1}, {4, 12, 8}, {8, 16, 12}, {12, 20, 16}}},
		{"sliding", 18, 8, 4, []Window{{0, 8, 1}, {4, 12, 8}, {8, 16, 12}, {10, 18, 16}}},
		{"sliding", 30, 8, 10, []Window{{0, 8, 1}, {10, 18, 11}, {20, 28, 21}, {22, 30, 28}}},
		{"sliding", 7, 8, 4, nil},
	} {
		got := Windows(c.protocol, c.n, c.ctx, c.stride)
		if len(got) != len(c.want) || len(got) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s n=%d ctx=%d stride=%d: %v, want %v", c.protocol, c.n, c.ctx, c.stride, got, c.want)
		}
	}
	if got := Limit(Windows("sliding", 100, 10, 10), 3); got[0].Lo != 0 || got[1].Lo != 30 || got[2].Lo != 60 {
		t.Errorf("limit: %v", got)
	}
}

// The number that a message asks for is the least that gives a window.
func TestLeastTokens(t *testing.T) {
	for _, protocol := range []string{"longlora", "sliding"} {
		for _, ctx := range []int{2, 7, 64} {
			for _, stride := range []int{1, 5, 100} {
				n, _ := leastTokens(protocol, ctx, stride)
				if a, b := len(Windows(protocol, n-1, ctx, stride)), len(Windows(protocol, n, ctx, stride)); a != 0 || b == 0 {
					t.Errorf("%s, ctx %d, stride %d: %d windows of %d tokens, %d of one fewer", protocol, ctx, stride, b, n, a)
				}
			}
		}
	}
}

func TestMeans(t *testing.T) {
	s := []Score{{Sum: Sum{10, 5}}, {Sum: Sum{3, 1}}}
	if a, b := Mean("longlora", s), Mean("sliding", s); a != 2.5 || b != 13.0/6 {
		t.Errorf("%v %v", a, b)
	}
}

type words struct{}

func (words) Encode(s string) (ids []int32, err error) {
	for range strings.Fields(s) {
		ids = append(ids, 7)
	}
	return ids, nil
}
func (words) BOS() (int32, bool) { return 1, true }

// recorder keeps the last text.
type recorder struct {
	words
	text *string
}

func (r recorder) Encode(s string) ([]int32, error) {
	*r.text = s
	return r.words.Encode(s)
}

// The prompt fills the context but for less than one filler, and the fact stands where the depth says.
func TestPasskeyPrompt(t *testing.T) {
	for _, ctx := range []int{60, 200, 1000} {
		for d := range 10 {
			x, err := Paper.Make(words{}, ctx, d, 10, 0, 3)
			if err != nil {
				t.Fatal(err)
			}
			size, filler := len(x.Prompt)+len(x.Answer), len(strings.Fields(Paper.Filler))
			if size > ctx || ctx-size >= filler || len(x.Answer) != 1 {
				t.Errorf("ctx %d depth %d: %d tokens, answer of %d", ctx, d, size, len(x.Answer))
			}
		}
	}
	if _, err := Paper.Make(words{}, 20, 0, 10, 0, 3); errs.Code(err) != 4 {
		t.Errorf("a context that is too short: %v", err)
	}
	named := Paper
	named.Intro = "{name} "
	enc := recorder{text: new(string)}
	if _, err := named.Make(enc, 60, 0, 1, 0, 3); err != nil || !strings.Contains("0123456789", (*enc.text)[:1]) {
		t.Errorf("a name without a list of names: %.20q, %v", *enc.text, err)
	}
	a, b := draw(1, 64, 2, 3).Uint64(), draw(1, 64, 2, 3).Uint64()
	if a != b || a == draw(1, 64, 3, 2).Uint64() {
		t.Error("draws are not a function of seed, length, depth and trial")
	}
}

// uneven makes a prompt longer by what is drawn: of the digits of its numbers every odd one is a token.
type uneven struct{ words }

func (uneven) Encode(text string) ([]int32, error) {
	n := len(strings.Fields(text))
	for _, c := range text {
		if c >= '0' && c <= '9' && c%2 == 1 {
			n++
		}
	}
	return make([]int32, n), nil
}

// What is refused as too short names a length at which every trial of every depth fits.
func TestTooShortNamesWhatIsNot(t *testing.T) {
	const depths, trials = 3, 20
	for task, fits := range map[string]func(ctx int) error{
		"passkey": func(ctx int) error { return Paper.fits(uneven{}, ctx, depths, trials, 3) },
		"topics":  func(ctx int) error { return topicsFit(uneven{}, ctx, trials, 3) },
	} {
		for _, ctx := range []int{2, 60} {
			err := fits(ctx)
			var least int
			if err == nil {
				t.Fatalf("the %s task fits %d tokens", task, ctx)
			}
			if _, s := fmt.Sscanf(err.Error(), "the "+task+" task: --ctx "+fmt.Sprint(ctx)+
				" is too short: the fixed words take %d tokens; give at least that", &least); s != nil || errs.Code(err) != 4 {
				t.Fatalf("%v: %v", err, s)
			}
			if err := fits(least); err != nil {
				t.Errorf("%d tokens: %v", least, err)
			}
			for d := range depths {
				for k := range trials {
					if _, err := Paper.Make(uneven{}, least, d, depths, k, 3); task == "passkey" && err != nil {
						t.Errorf("%d tokens, depth %d, trial %d: %v", least, d, k, err)
					}
					if _, err := MakeTopics(uneven{}, least, k, 3); task == "topics" && err != nil {
						t.Errorf("%d tokens, trial %d: %v", least, k, err)
					}
				}
			}
		}
	}
}

// All trials are looked at before the first prompt; that ends where the work is to stop.
func TestLookingAheadStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	enc := stoppable{uneven{}, ctx}
	const trials = 1 << 20
	e := evaluation{hay: straw()}
	e.cfg.Trials = trials
	stop()
	for task, err := range map[string]error{"passkey": Paper.fits(enc, 4096, 10, trials, 0),
		"topics": topicsFit(enc, 4096, trials, 0), "ruler": e.rulerFits(enc, 4096)} {
		if errs.Code(err) != int(errs.Interrupted) {
			t.Errorf("%s: %v", task, err)
		}
	}
}
