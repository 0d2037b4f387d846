package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/train"
)

// A recipe gives what nothing else gives, and rules for what depends on the model.
func TestRecipe(t *testing.T) {
	for _, c := range []struct {
		file, args string
		want       string // rank, alpha, targets, schedule, warm-up, share of full attention, positions and margin, origin of the rank
	}{
		{"", "", "16 32 [all-linear] linear 6 0.125 ntk 1.1 recipe measured"},
		{"", "--recipe=paper", "8 16 [attention] constant 20 0 linear 1 recipe paper"},
		{"recipe: paper\nrank: 4\n", "", "4 16 [attention] constant 20 0 linear 1 file longlora.yaml"},
		{"recipe: paper\n", "--recipe=measured --rank=4 --alpha=1", "4 1 [all-linear] linear 6 0.125 ntk 1.1 flag"},
		{"", "--attn=s2 --schedule=cosine --warmup-steps=0", "16 32 [all-linear] cosine 0 0 ntk 1.1 recipe measured"},
		{"attn: full\n", "", "16 32 [all-linear] linear 6 0 ntk 1.1 recipe measured"},
		{"", "--attn=s2 --full-last=0.5", "16 32 [all-linear] linear 6 0.5 ntk 1.1 recipe measured"},
		{"", "--attn=auto --full-last=0", "16 32 [all-linear] linear 6 0 ntk 1.1 recipe measured"},
	} {
		o, _, err := load(t, least+c.file, strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%q %s: %v", c.file, c.args, err)
			continue
		}
		from := ""
		for _, x := range o.Settings {
			if x.Option == "rank" {
				from = x.From
			}
		}
		got := fmt.Sprint(o.Rank, " ", o.Alpha, " ", o.Targets, " ", o.Schedule, " ", o.WarmupSteps, " ", o.Full.String(), " ",
			o.Positions.Beyond, " ", o.Positions.Margin, " ", from)
		if got != c.want {
			t.Errorf("%q %s: %s, want %s", c.file, c.args, got, c.want)
		}
	}
}

// A rate that is not given is the recipe's, by the model's width, the tokens of a step and how many steps there are; that
// of embedding, norms and head keeps the recipe's ratio to it.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		args         string
		width, steps int
		lr, embed    float64
	}{
		{"--ctx=32768 --accum=4", 576, 60, 2e-3, 2e-4}, {"--ctx=32768 --batch=2 --accum=2", 4096, 0, 4.37e-4, 4.37e-5},
		{"--ctx=65536 --accum=16", 64, 1000, 2e-3, 2e-4}, {"--ctx=32768 --accum=4", 1152, 60, 1.17e-3, 1.17e-4},
		{"--ctx=16384 --accum=1", 576, 60, 3.75e-4, 3.75e-5}, {"--ctx=16384 --batch=8 --accum=1", 576, 15, 1.5e-3, 1.5e-4}, {"--ctx=32768 --accum=4", 576, 30, 2e-3, 2e-4},
		{"--ctx=16384 --accum=1 --lr-embed=1e-5", 576, 15, 1.88e-4, 1e-5},
		{"--lr=1e-3", 4096, 8, 1e-3, 1e-4}, {"--lr=1e-3 --lr-embed=0", 4096, 0, 1e-3, 0},
		{"--tune=full", 4096, 8, 2e-5, 2e-5}, {"--tune=full --lr=1e-4", 4096, 8, 1e-4, 1e-4}, {"--recipe=paper", 4096, 8, 2e-5, 2e-5}, {"--recipe=paper --lr=1e-3", 64, 0, 1e-3, 1e-3},
		{"--recipe=paper --lr=auto --lr-embed=auto", 64, 0, 2e-5, 2e-5}, {"--recipe=paper --lr=0", 64, 0, 0, 0},
	} {
		o, _, err := load(t, least, strings.Fields(c.args)...)
		if err != nil {
			t.Fatal(err)
		}
		if lr, embed := o.RatesFor(c.width, c.steps); lr != c.lr || embed != c.embed {
			t.Errorf("%s at width %d, %d steps: %g and %g, want %g and %g", c.args, c.width, c.steps, lr, embed, c.lr, c.embed)
		}
	}
	for _, wrong := range []string{"--lr=-1", "--lr-embed=-1e-9", "--lr=inf", "--lr-embed=nan"} {
		if _, _, err := load(t, least, wrong); errs.Code(err) != 2 || !strings.Contains(err.Error(), "must be a finite number from 0 on") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// A rank alone leaves alpha the recipe's, and a note says the scale that this makes.
func TestScaleNote(t *testing.T) {
	for args, want := range map[string]string{"--rank=4": "the scale is 8", "--rank=4 --rslora": "the scale is 16", "--rank=4 --alpha=4": "", "": "",
		"--rank=4 --tune=full": "", "--rank=4 --adapter=a": ""} {
		_, v, err := load(t, least, strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(v.Notes(), "\n"); strings.Contains(got, "the scale is") != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%s: notes %q, want %q", args, got, want)
		}
	}
	v, err := read(t, "bench", "--ctx=64", "--rank=4") // which has no adapter to go on from
	if err != nil || !strings.Contains(strings.Join(v.Notes(), "\n"), "the scale is") {
		t.Errorf("bench: %v, notes %q", err, v.Notes())
	}
}

// Advice becomes the whole command, and an option at the head of a message is named by what gave it.
func TestTell(t *testing.T) {
	t.Setenv("LONGLORA_RANK", "4")
	_, v, err := load(t, least+"seed: 3\n", "--alpha=8")
	if err != nil {
		t.Fatal(err)
	}
	fits := errs.Advice{{Option: "ctx", Value: "32"}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errs.NoFitf("%s 64 does not fit; what fits: %w. Raise %s", errs.Option("ctx"), fits, errs.Option("host-mem")),
			"longlora.yaml: ctx: 64 does not fit; what fits: longlora train --ctx 32 --alpha 8. Raise --host-mem"},
		{errs.Usagef("%s 4: too small", errs.Option("rank")), "LONGLORA_RANK 4: too small"},
		{errs.Usagef("%s: no number", errs.Option("seed")), "longlora.yaml: seed: no number"},
		{errs.Usagef("%s 8: wrong", errs.Option("alpha")), "--alpha 8: wrong"},
		{errs.Dataf("--- a file: %s", errs.Option("seed")), "--- a file: --seed"},
	} {
		if got := v.Tell(c.err); got.Error() != c.want || errs.Code(got) != errs.Code(c.err) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if v.Tell(nil) != nil {
		t.Error("nothing is told as something")
	}
}

// What a run keeps of its options starts the same run again, whatever gave them.
func TestKeptRecipe(t *testing.T) {
	first, _, err := load(t, least, "--rank=4", "--lr-embed=0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := train.YAML(first.Settings)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := load(t, string(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	c, err := train.YAML(again.Settings)
	if err != nil || string(b) != string(c) {
		t.Errorf("%v: written\n%s\nand again\n%s", err, b, c)
	}
}
