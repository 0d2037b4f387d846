package eval

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Drawn tokens have the probabilities of softmax(logits/temperature), cut at top-p.
func TestDraw(t *testing.T) {
	logits := []float32{1, 3, 2, -1}
	for _, c := range []struct {
		temperature, topP float64
		kept              []int
	}{{1, 1, []int{0, 1, 2, 3}}, {0.5, 1, []int{0, 1, 2, 3}}, {1, 0.85, []int{1, 2}}, {1, 0.1, []int{1}}, {3, 0.99, []int{0, 1, 2, 3}}} {
		want := make([]float64, len(logits))
		sum := 0.0
		for _, i := range c.kept {
			want[i] = math.Exp(float64(logits[i]) / c.temperature)
			sum += want[i]
		}
		s := &sampler{c.temperature, c.topP, rand.New(rand.NewPCG(7, 0))}
		const n = 20000
		got := make([]float64, len(logits))
		for range n {
			id, err := s.draw(logits)
			if err != nil {
				t.Fatal(err)
			}
			got[id] += 1. / n
		}
		for i := range want {
			p := want[i] / sum
			if d := math.Abs(got[i] - p); d > 4*math.Sqrt(p*(1-p)/n)+1e-9 { // four standard deviations
				t.Errorf("temperature %g, top-p %g: token %d drawn %.4f of the time, its probability is %.4f", c.temperature, c.topP, i, got[i], p)
			}
		}
	}
	s := &sampler{1, 1, rand.New(rand.NewPCG(7, 0))}
	if _, err := s.draw([]float32{1, float32(math.NaN())}); err == nil {
		t.Error("a NaN among the scores is not refused")
	}
}

// Text that may begin a stop text waits; a stop text is left out with all after it.
func TestStops(t *testing.T) {
	for _, c := range []struct {
		stops  []string
		pieces string // by |
		out    string // after each piece, by |
		stop   bool
	}{
		{nil, "ab|c", "ab|abc", false},
		{[]string{"END"}, "xE|N|x", "x|x|xENx", false},
		{[]string{"END"}, "xE|N|Dy", "x|x|x", true},
		{[]string{"\n\n", "##"}, "a\n|#|\n|##b", "a|a\n|a\n#|a\n#\n", true},
		{[]string{"b", "ab"}, "xa|b", "x|x", true},
		{[]string{"aab"}, "aaa|b", "a|a", true},
	} {
		var out strings.Builder
		w := &writer{stops: c.stops, out: &out, res: &Generated{}}
		stopped := false
		want := strings.Split(c.out, "|")
		for i, p := range strings.Split(c.pieces, "|") {
			stop, err := w.add(p, false)
			if err != nil {
				t.Fatal(err)
			}
			stopped = stopped || stop
			if out.String() != want[i] {
				t.Errorf("%q after piece %d of %q: %q, want %q", c.stops, i, c.pieces, out.String(), want[i])
			}
		}
		if stopped != c.stop {
			t.Errorf("%q in %q: stopped %v", c.stops, c.pieces, stopped)
		}
	}
}
