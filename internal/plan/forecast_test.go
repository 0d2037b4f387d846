package plan

import (
	"testing"

	"longlora/internal/s2attn"
)

// A forecast grows with the work: faster than the length under full attention, more than a session's prompt where every
// token is scored, less in groups; and a large model's is near what its operations take at the chip's rate.
func TestForecast(t *testing.T) {
	p := h100(80*gib, 256*gib)
	seconds := func(k Kind, n int, spec s2attn.Spec) float64 {
		w := on7bForward(k, n)
		w.Spec = spec
		pl, err := p.choose(w)
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Forecast(w, pl.Tiling)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	full := s2attn.Spec{Mode: s2attn.Full}
	short, long := seconds(Score, 1<<13, full), seconds(Score, 1<<15, full)
	split := s2attn.Spec{Mode: s2attn.Split, Group: 2048}
	prompt, groups := seconds(Session, 1<<15, full), seconds(Score, 1<<15, split)
	if long < 4.5*short || prompt >= long || prompt < 0.8*long || groups >= 0.8*long {
		t.Errorf("8k %.3g s, 32k %.3g s, as a prompt %.3g s, in groups %.3g s", short, long, prompt, groups)
	}
	step, err := StepFlops(on7bForward(Score, 1<<15).Desc, 1<<15, split)
	if err != nil {
		t.Fatal(err)
	}
	forward := step / 2 // half of what the weights take in a step
	if rate := forward / groups; rate < 0.7*p.Rates.Linear || rate > 1.5*p.Rates.Linear {
		t.Errorf("%.3g operations a second predicted, the chip's rate is %.3g", rate, p.Rates.Linear)
	}
}
