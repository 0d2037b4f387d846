package eval_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"longlora/internal/eval"
)

// A perplexity comes back from JSON as it was, an infinite one from null beside a loss and a note; what was not measured
// stays away.
func TestPPL(t *testing.T) {
	for loss, want := range map[float64]string{0: "1.0000", 2: "7.3891", 100: "2.688e+43", 709.78: "infinite", 709.79: "infinite", 1e4: "infinite"} {
		if loss == 709.78 {
			want = eval.PPL(math.Exp(loss)).String()
		}
		p, note := eval.NewPPL(loss)
		if p.String() != want || p.Infinite() != (want == "infinite") || (note != "") != p.Infinite() {
			t.Errorf("loss %v: %s, %q", loss, p, note)
		}
		if loss == 100 && p.Digits(2) != want || loss == 2 && p.Digits(2) != "7.39" {
			t.Errorf("loss %v: %s", loss, p.Digits(2))
		}
		r := eval.Result{Task: "ppl", Ctx: 64, Loss: &loss, PPL: p, Note: note}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), `"ppl":null`) != p.Infinite() {
			t.Errorf("%s", b)
		}
		var got eval.Result
		if err := json.Unmarshal(b, &got); err != nil || got.PPL == nil || *got.PPL != *p || *got.Loss != loss || got.Note != note {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
		var f, back eval.Figures
		f.Add(r)
		if b, err = json.Marshal(f); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &back); err != nil || back.PPL == nil || *back.PPL != *p || back.Note != note {
			t.Errorf("%s: %+v, %v", b, back, err)
		}
	}
	var f eval.Figures
	if err := json.Unmarshal([]byte(`{"ppl":null,"passkey":0.5}`), &f); err != nil || f.PPL != nil || *f.Accuracy != .5 {
		t.Errorf("%+v, %v", f, err)
	}
	if b, err := json.Marshal(eval.Result{Task: "passkey"}); err != nil || strings.Contains(string(b), "ppl") {
		t.Errorf("%s, %v", b, err)
	}
}
