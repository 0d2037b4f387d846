package train_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// plainModel is a reference case whose model reads 64 tokens without scaling.
const plainModel = "biases"

// drawn is a file of n tokens.
func drawn(t *testing.T, n int) string {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]uint16, n)
	for i := range ids {
		ids[i] = uint16(r.IntN(96))
	}
	return tokenFile(t, ids)
}

// positionsOf are what a run recorded.
func positionsOf(t *testing.T, dir string) (kind string, factor float64, length int) {
	t.Helper()
	r, err := train.ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	kind, _ = r.Positions.Rope["rope_type"].(string)
	if _, err := fmt.Sscan(fmt.Sprint(r.Positions.Rope["factor"]), &factor); err != nil && kind != "default" {
		t.Fatal(err)
	}
	return kind, factor, r.Positions.MaxPos
}

// Training on from a run at YaRN's positions begins with the loss that the run ended with, and goes as training does on a
// base whose config.json has those positions.
func TestGoOnAtTheAdaptersPositions(t *testing.T) {
	const ctx, rows = 256, 4
	model := filepath.Join(testkit.Root(t), "testdata", "golden", plainModel, "model")
	text := drawn(t, ctx*rows)
	args := func(out string, more ...string) []string {
		return append([]string{"--data=" + text, "--out=" + out, fmt.Sprint("--ctx=", ctx), "--lr=1e-3", "--warmup-steps=0",
			"--shuffle=false", "--pack=concat", fmt.Sprint("--accum=", rows), "--base-ctx=64"}, more...)
	}
	first := filepath.Join(t.TempDir(), "first")
	run(t, args(first, "--model="+model, "--rope=yarn", "--steps=3", "--eval-data="+text, "--eval-every=3", "--eval-attn=full")...)
	ended := metrics(t, first)[2].EvalLoss
	if kind, factor, length := positionsOf(t, first); kind != "yarn" || factor != 4 || length != ctx {
		t.Fatalf("trained at %s ×%g for %d", kind, factor, length)
	}

	on := filepath.Join(t.TempDir(), "on")
	_, log := run(t, args(on, "--model="+model, "--adapter="+first, "--attn=full", "--steps=3")...)
	if want := "positions   yarn ×4 for 256 tokens; the adapter's own"; !strings.Contains(log, want) || strings.Contains(log, "warning") {
		t.Errorf("the log does not say %q, or warns:\n%s", want, log)
	}

	scaled := filepath.Join(t.TempDir(), "scaled") // the same model with the positions in its config, the adapter without
	if err := os.CopyFS(scaled, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	testkit.ReadJSON(t, filepath.Join(model, "config.json"), &config)
	config["max_position_embeddings"] = ctx
	config["rope_parameters"] = map[string]any{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(scaled, "config.json"), b)
	bare := copyRun(t, first)
	if err := os.Remove(filepath.Join(bare, "run.json")); err != nil {
		t.Fatal(err)
	}
	unbroken := filepath.Join(t.TempDir(), "unbroken")
	run(t, args(unbroken, "--model="+scaled, "--adapter="+bare, "--attn=full", "--steps=3")...)

	got, want := metrics(t, on), metrics(t, unbroken)
	if ended == nil || !near(got[0].Loss, *ended, 1e-6) {
		t.Errorf("goes on with the loss %v, the run ended with %v", got[0].Loss, ended)
	}
	for i := range want {
		if bits(got[i]) != bits(want[i]) {
			t.Errorf("step %d: %s, on a base with these positions %s", i+1, bits(got[i]), bits(want[i]))
		}
	}
	if adapterOf(t, on) != adapterOf(t, unbroken) {
		t.Error("not the adapter that training on a base with these positions gives")
	}
	_, log = run(t, args(filepath.Join(t.TempDir(), "linear"), "--model="+model, "--adapter="+bare, "--attn=full", "--steps=1")...)
	if want := "says no positions"; !strings.Contains(log, "warning: "+bare+" "+want) {
		t.Errorf("without a record: no warning that the adapter %s:\n%s", want, log)
	}
}

// What holds where: the adapter's positions up to their length, larger ones beyond it, and what is asked for, with a word
// where that is another thing. A checkpoint is an adapter too.
func TestWhosePositions(t *testing.T) {
	model := filepath.Join(testkit.Root(t), "testdata", "golden", plainModel, "model")
	data := drawn(t, 512)
	common := []string{"--model=" + model, "--data=" + data, "--steps=1", "--accum=1"}
	first := filepath.Join(t.TempDir(), "first")
	run(t, append(common, "--out="+first, "--ctx=256", "--rope=yarn")...)
	bare := copyRun(t, first)
	if err := os.Remove(filepath.Join(bare, "run.json")); err != nil {
		t.Fatal(err)
	}
	foreign := copyRun(t, bare)
	testkit.Write(t, filepath.Join(foreign, "run.json"), `{"name": "of another program"}`)
	for name, c := range map[string]struct {
		adapter string
		more    string // options
		kind    string
		factor  float64
		length  int
		says    string
		warns   string
	}{
		"the same length":     {first, "--ctx=256", "yarn", 4, 256, "the adapter's own, which it was trained at for 256", ""},
		"a shorter one":       {first, "--ctx=100", "yarn", 4, 256, "the adapter's own, which it was trained at for 256", ""},
		"a longer one":        {first, "--ctx=300", "yarn", 5, 300, "the adapter was trained at yarn ×4 for 256", ""},
		"a checkpoint":        {filepath.Join(first, "checkpoints", "step-000001"), "--ctx=256", "yarn", 4, 256, "the adapter's own", ""},
		"asked for the same":  {first, "--ctx=256 --rope=yarn", "yarn", 4, 256, "the adapter's own", ""},
		"asked for another":   {first, "--ctx=256 --rope=linear", "linear", 4, 256, "the adapter was trained at yarn ×4", "asked for, linear ×4, are not those of the adapter"},
		"another factor":      {first, "--ctx=256 --rope-factor=6", "yarn", 6, 256, "the adapter was trained at yarn ×4", "asked for, yarn ×6, are not"},
		"none":                {first, "--ctx=256 --rope=none", "default", 0, 64, "", "are not those of the adapter"},
		"an idle length":      {first, "--ctx=256 --base-ctx=32", "yarn", 4, 256, "note: the pre-training length of 32 tokens changes nothing", ""},
		"no record, longer":   {bare, "--ctx=256", "linear", 4, 256, "the base has default", "says no positions"},
		"no record, measured": {bare, "--ctx=256 --recipe=measured", "linear", 4, 256, "the base has default", "says no positions"},
		"no record, short":    {bare, "--ctx=48", "default", 0, 64, "the base's own", ""},
		"no record, asked":    {bare, "--ctx=256 --rope=yarn", "yarn", 4, 256, "the base has default", ""},
		"a foreign record":    {foreign, "--ctx=256", "linear", 4, 256, "", "says no positions"},
		"without an adapter":  {"", "--ctx=256", "linear", 4, 256, "the base has default (theta 10000) and reads 64", ""},
		"an idle one, fresh":  {"", "--ctx=48 --base-ctx=32", "default", 0, 64, "note: the pre-training length of 32 tokens changes nothing", ""},
		"a useful one, fresh": {"", "--ctx=256 --base-ctx=32", "linear", 8, 256, "", ""},
	} {
		out := filepath.Join(t.TempDir(), "out")
		args := append(common, append(strings.Fields(c.more), "--out="+out)...)
		if c.adapter != "" {
			args = append(args, "--adapter="+c.adapter)
		}
		_, log := run(t, args...)
		kind, factor, length := positionsOf(t, out)
		if kind != c.kind || factor != c.factor || length != c.length {
			t.Errorf("%s: %s ×%g for %d, want %s ×%g for %d", name, kind, factor, length, c.kind, c.factor, c.length)
		}
		warned := strings.Contains(log, "warning: the positions") || strings.Contains(log, "no positions")
		if !strings.Contains(log, c.says) || !strings.Contains(log, c.warns) || warned != (c.warns != "") {
			t.Errorf("%s: the log should say %q and warn of %q:\n%s", name, c.says, c.warns, log)
		}
	}
}

// A run does not go on where the adapter that it started from has other positions now, or none.
func TestAdaptersPositionsChanged(t *testing.T) {
	model := filepath.Join(testkit.Root(t), "testdata", "golden", plainModel, "model")
	data := drawn(t, 512)
	common := []string{"--model=" + model, "--data=" + data, "--accum=1", "--ctx=256"}
	first, out := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "out")
	run(t, append(common, "--out="+first, "--rope=yarn", "--steps=1")...)
	run(t, append(common, "--out="+out, "--adapter="+first, "--steps=1")...)
	if err := os.Remove(filepath.Join(first, "run.json")); err != nil {
		t.Fatal(err)
	}
	err := runError(t, append(common, "--out="+out, "--adapter="+first, "--steps=2")...)
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "positions was") || !strings.Contains(err.Error(), "yarn") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
}
