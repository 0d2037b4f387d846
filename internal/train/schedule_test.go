package train

import (
	"math"
	"testing"
)

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		kind            string
		warmup, n, step int
		want            float64
	}{
		{"constant", 0, 10, 1, 1},
		{"constant", 4, 10, 1, 0.25},
		{"constant", 4, 10, 4, 1},
		{"constant", 4, 10, 10, 1},
		{"constant", 20, 5, 5, 0.25}, // warm-up longer than the run
		{"linear", 0, 4, 1, 1},
		{"linear", 0, 4, 4, 0.25},
		{"linear", 2, 6, 2, 1},
		{"linear", 2, 6, 3, 1},
		{"linear", 2, 6, 6, 0.25},
		{"cosine", 0, 4, 1, 1},
		{"cosine", 0, 4, 3, 0.5},
		{"cosine", 2, 4, 4, 0.5},
		{"cosine", 4, 4, 4, 1},
	} {
		got := Schedule{Kind: c.kind, LR: 3e-4, Warmup: c.warmup, Steps: c.n}.At(c.step)
		if !(math.Abs(got-c.want*3e-4) <= 1e-18) {
			t.Errorf("%s W=%d N=%d step %d: rate %g, want %g", c.kind, c.warmup, c.n, c.step, got, c.want*3e-4)
		}
	}
}

// A gradient of a norm above the limit is scaled to it, as torch.nn.utils.clip_grad_norm_ does; a shorter one is left alone.
func TestClip(t *testing.T) {
	for _, c := range []struct{ norm, limit, want float64 }{
		{4, 1, 1 / 4.000001}, {4, 3, 3 / 4.000001}, {1e-3, 1e-3, 1e-3 / 1.001e-3}, {0.5, 1, 1}, {0, 1, 1}, {4, 0, 1}, {1e30, 1, 1e-30},
	} {
		if got := Clip(c.norm, c.limit); !(math.Abs(got-c.want) <= 1e-15*c.want) {
			t.Errorf("a norm of %g, at most %g: a factor of %v, want %v", c.norm, c.limit, got, c.want)
		}
	}
}
