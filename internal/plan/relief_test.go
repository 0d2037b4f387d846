package plan

import (
	"slices"
	"testing"

	"longlora/internal/s2attn"
)

// What is tried of a step that does not fit: each change alone, then more and more of them, with those that apply only
// after others.
func TestRelieved(t *testing.T) {
	eighth, err := s2attn.ParseShare("0.125")
	if err != nil {
		t.Fatal(err)
	}
	asked := func(change func(*Training)) Training {
		x := Training{Weights: "auto", KeepActivations: "auto", MoveLayers: -1, Batch: 1, Accum: 8}
		x.Attn, x.Tune, x.TrainEmbed, x.TrainNorm = "auto", "lora", true, true
		change(&x)
		return x
	}
	for _, c := range []struct {
		name string
		t    Training
		want []string
	}{
		{"lora", asked(func(*Training) {}), []string{"--train-embed=false", "--train-norm=false", "--weights=nf4",
			"--train-embed=false --train-norm=false", "--train-embed=false --train-norm=false --weights=nf4"}},
		{"every weight", asked(func(x *Training) { x.Tune = "full" }), []string{"--tune=lora", "--tune=lora --train-embed=false",
			"--tune=lora --train-embed=false --train-norm=false",
			"--tune=lora --train-embed=false --train-norm=false --weights=nf4"}},
		{"from random weights", asked(func(x *Training) { x.Tune, x.Random = "full", true }), nil},
		{"rows together, full at the end", asked(func(x *Training) {
			x.Batch, x.Full, x.TrainEmbed, x.TrainNorm, x.Weights = 2, eighth, false, false, "nf4"
		}), []string{"--batch=1 --accum=16", "--full-last=0", "--batch=1 --accum=16 --full-last=0"}},
	} {
		var got []string
		for _, a := range relieved(c.t) {
			got = append(got, a.changes.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: tried are\n%q, want\n%q", c.name, got, c.want)
		}
	}
}
