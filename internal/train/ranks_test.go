package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/ops/cpu"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// ranked trains as so many ranks of one process; change may change what one of them goes by. It returns what rank 0
// said and what each ended with.
func ranked(t *testing.T, size int, change func(rank int, c *train.Options), args ...string) (string, []error) {
	t.Helper()
	var log bytes.Buffer
	out := make([]error, size)
	var wg sync.WaitGroup
	for r, g := range dist.InProcess(size) {
		c := options(t, args...)
		c.Ranks, c.Peers = g, size
		if err := g.Divide(c.Chain); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r, c)
		}
		to := &bytes.Buffer{}
		if r == 0 {
			to = &log
		}
		wg.Go(func() {
			if _, out[r] = train.Run(t.Context(), c, cpu.New(1), to); out[r] != nil {
				_ = g.Break(fmt.Errorf("rank %d failed: %w", r, out[r]))
			}
		})
	}
	wg.Wait()
	return log.String(), out
}

func rankedWell(t *testing.T, size int, args ...string) string {
	t.Helper()
	log, all := ranked(t, size, nil, args...)
	for r, err := range all {
		if err != nil {
			t.Fatalf("rank %d: %v\n%s", r, err, log)
		}
	}
	return log
}

// together are the arguments of four steps of twelve rows, whose first one's gradients are AdamW's first moment.
func together(name, out string, more ...string) []string {
	e := filepath.Join(goldenDir, name)
	return append([]string{"--model=" + filepath.Join(e, "model"), "--data=" + filepath.Join(e, "tokens.bin"), "--out=" + out, "--ctx=64",
		"--base-ctx=32", "--group=0.25", "--lr=1e-3", "--warmup-steps=0", "--beta1=0", "--max-grad-norm=0", "--steps=4", "--save-every=1",
		"--keep=9", "--batch=2", "--accum=6", "--eval-fraction=0.1", "--eval-every=2", "--dropout=0.1"}, more...)
}

// However many ranks there are, they train what one does: losses, validation and norms to 1e-6, the gradient of every tensor
// to 2e-6, which is float32's rounding in another order of sums (the largest seen is 1.1e-6, of a norm under AVX2), the
// adapter after four steps to 1e-3.
func TestRanks(t *testing.T) { asOne(t, "gqa-llama3", [][2]int{{2, 1}, {3, 1}, {4, 1}}) }

// And so do ranks that divide each row, with others that do and without: in groups, with windows, with cuts and padding,
// with full attention at the end, and in families that are unlike others.
func TestChains(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes [][2]int
		more  []string
	}{
		{"gqa-llama3", [][2]int{{2, 2}, {3, 3}, {4, 2}}, []string{"--full-last=0.5"}},
		{"families/mistral-window", [][2]int{{4, 4}}, []string{"--ctx=61", "--group=0.4"}},
		{"families/gemma2", [][2]int{{3, 3}}, []string{"--ctx=57"}},
		{"families/phi3", [][2]int{{2, 2}}, []string{"--attn=full"}},
		{"gqa-llama3", [][2]int{{2, 2}, {6, 3}}, []string{"--full-last=0.5", "--tile=17", "--keep-activations=input"}},
		{"families/gemma2", [][2]int{{2, 2}}, []string{"--ctx=57", "--tile=11", "--keep-activations=attn"}},
	} {
		t.Run(c.name, func(t *testing.T) { asOne(t, c.name, c.sizes, c.more...) })
	}
}

// asOne holds ranks, of which so many each divide the rows, to what one process trains on a reference case.
func asOne(t *testing.T, name string, sizes [][2]int, more ...string) {
	t.Helper()
	one := t.TempDir()
	run(t, together(name, one, more...)...)
	want := metrics(t, one)
	for _, s := range sizes {
		size, out := s[0], t.TempDir()
		rankedWell(t, size, together(name, out, append(more, fmt.Sprintf("--sequence-ranks=%d", s[1]))...)...)
		for i, m := range metrics(t, out) {
			w := want[i]
			for what, x := range map[string][2]float64{"loss": {m.Loss, w.Loss}, "norm": {m.GradNorm, w.GradNorm}} {
				if d := math.Abs(x[0]/x[1] - 1); !(d <= 1e-6) {
					t.Errorf("%d ranks, step %d: %s is off by %g", size, i+1, what, d)
				}
			}
			if m.Tokens != w.Tokens || (m.EvalLoss == nil) != (w.EvalLoss == nil) ||
				m.EvalLoss != nil && !(math.Abs(*m.EvalLoss / *w.EvalLoss - 1) <= 1e-6) {
				t.Errorf("%d ranks, step %d: %+v, want %+v", size, i+1, m, w)
			}
		}
		file := filepath.Join("checkpoints", "step-000001", rundir.MomentsFile)
		got, ref := testkit.Floats(t, filepath.Join(out, file)), testkit.Floats(t, filepath.Join(one, file))
		grads := 0
		for tensor, w := range ref {
			if !strings.HasPrefix(tensor, "m.") {
				continue
			}
			grads++
			if d := testkit.Relative(got[tensor], w); !(d <= 2e-6) {
				t.Errorf("%d ranks: the gradient of %s is off by %g", size, tensor, d)
			}
		}
		if grads < 10 {
			t.Fatalf("%d gradients", grads)
		}
		// AdamW magnifies rounding near zero: what changed is compared as a whole
		before := testkit.Floats(t, filepath.Join(goldenDir, name, "model", "model.safetensors"))
		a, b := testkit.Floats(t, filepath.Join(out, "adapter_model.safetensors")), testkit.Floats(t, filepath.Join(one, "adapter_model.safetensors"))
		off, all := 0.0, 0.0
		for tensor, w := range b {
			base := before[strings.TrimPrefix(tensor, "base_model.model.")]
			for i := range w {
				from := float32(0)
				if base != nil {
					from = base[i]
				}
				off += math.Pow(float64(a[tensor][i]-w[i]), 2)
				all += math.Pow(float64(w[i]-from), 2)
			}
		}
		if d := math.Sqrt(off / all); !(d <= 1e-3) {
			t.Errorf("%d ranks: the adapter is off by %g of its change", size, d)
		}
	}
}

// Weights that are divided among the ranks are the same weights: the bits are those of ranks that have all of them, with
// codes and factors as with numbers, where rows differ in length, and where last steps attend fully; and so they are of
// ranks that go on.
func TestShardedRanks(t *testing.T) {
	const name = "gqa-llama3"
	for _, more := range [][]string{nil, {"--full-last=0.5", "--weights=nf4", "--tile=16"}} {
		want, got := t.TempDir(), t.TempDir()
		with := func(out string, last ...string) []string { return together(name, out, slices.Concat(more, last)...) }
		rankedWell(t, 3, with(want, "--shard-weights=off")...)
		if more == nil { // else steps are counted from the end
			rankedWell(t, 3, with(got, "--shard-weights=on", "--steps=2")...)
		}
		if log := rankedWell(t, 3, with(got, "--shard-weights=on")...); more == nil && !strings.Contains(log, "resuming") {
			t.Error(log)
		}
		file := "adapter_model.safetensors"
		if !bytes.Equal(testkit.Read(t, filepath.Join(want, file)), testkit.Read(t, filepath.Join(got, file))) {
			t.Errorf("%v: other bits", more)
		}
		if b := testkit.Read(t, filepath.Join(got, "run.json")); !bytes.Contains(b, []byte(`"shard": `)) {
			t.Errorf("%v: nothing is sharded", more)
		}
	}
	_, all := ranked(t, 1, nil, together(name, filepath.Join(t.TempDir(), "out"), "--shard-weights=on")...)
	if errs.Code(all[0]) != 2 || !strings.Contains(all[0].Error(), "--gpus") {
		t.Errorf("one rank: %v", all[0])
	}
}

// The same ranks give the same bits, and so does going on with as many; with another number it is said, and trains the
// same to rounding.
func TestRanksGoOn(t *testing.T) {
	const name, file = "gqa-llama3", "adapter_model.safetensors"
	for _, c := range []struct{ chain, was string }{{"--sequence-ranks=1", "2 processes"}, {"--sequence-ranks=2", "a chain of 2 processes"}} {
		whole, parts := t.TempDir(), t.TempDir()
		rankedWell(t, 2, together(name, whole, c.chain)...)
		rankedWell(t, 2, together(name, parts, c.chain, "--steps=2")...)
		one := filepath.Join(t.TempDir(), "one")
		if err := os.CopyFS(one, os.DirFS(parts)); err != nil {
			t.Fatal(err)
		}
		if log := rankedWell(t, 2, together(name, parts, c.chain)...); !strings.Contains(log, "resuming    after step 2") || strings.Contains(log, "processes") {
			t.Error(log)
		}
		if !bytes.Equal(testkit.Read(t, filepath.Join(whole, file)), testkit.Read(t, filepath.Join(parts, file))) {
			t.Errorf("%s: going on gives other bits", c.was)
		}
		_, log := run(t, together(name, one)...)
		if !strings.Contains(log, "the saved steps were done by "+c.was+", the next ones will be by one process") {
			t.Error(log)
		}
		a, b := metrics(t, one), metrics(t, whole)
		if d := math.Abs(a[3].Loss/b[3].Loss - 1); !(d <= 1e-5) || a[1].Loss != b[1].Loss {
			t.Errorf("losses %v and %v", a, b)
		}
		if log := rankedWell(t, 3, together(name, whole)...); !strings.Contains(log, "finished already") {
			t.Error(log)
		}
	}
}

// One rank's fault ends all before anything is written or the update applied, by its name.
func TestRanksFail(t *testing.T) {
	const name = "gqa-llama3"
	check := func(what string, all []error, code int, want string) {
		t.Helper()
		for r, err := range all {
			if errs.Code(err) != code || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: rank %d: %v, want %q", what, r, err, want)
			}
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	_, all := ranked(t, 5, nil, together(name, out)...)
	check("five", all[:1], 2, "12 rows a step, which 5 processes")
	_, all = ranked(t, 4, nil, together(name, out, "--sequence-ranks=2", "--accum=3", "--batch=1")...)
	check("chains", all[:1], 2, "3 rows a step, which 2 chains of 2 processes")
	_, all = ranked(t, 2, func(rank int, c *train.Options) {
		if rank == 1 {
			must(t, c.Ranks.Divide(2))
		}
	}, together(name, out)...)
	check("another chain", all, 2, "rank 1 divides rows among 2 processes, rank 0 among 1")
	_, all = ranked(t, 2, func(rank int, c *train.Options) {
		if rank == 1 {
			c.Settings = append([]train.Setting(nil), c.Settings...)
			for i := range c.Settings {
				if c.Settings[i].Option == "lr" {
					c.LR = new(float64)
				}
			}
		}
	}, together(name, out)...)
	check("another rate", all, 2, "rank 1 does not train what rank 0 does: --lr is 0 there, and 0.001 on rank 0")
	other := filepath.Join(t.TempDir(), "other.bin")
	b := testkit.Read(t, filepath.Join(goldenDir, name, "tokens.bin"))
	b[8] ^= 1
	testkit.Write(t, other, string(b))
	_, all = ranked(t, 2, func(rank int, c *train.Options) {
		if rank == 1 {
			c.Data = []string{other}
		}
	}, together(name, out)...)
	check("other data", all, 2, "rank 1 does not train what rank 0 does: --data is other.bin")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A rank that is asked to stop has all stop after one step, which rank 0 saves, wherever in a step it and the others are.
func TestRanksStop(t *testing.T) {
	for _, chain := range []string{"--sequence-ranks=1", "--sequence-ranks=3"} {
		out := filepath.Join(t.TempDir(), "out")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		all := make([]error, 3)
		for r, g := range dist.InProcess(3) {
			c := options(t, together("gqa-llama3", out, "--steps=4000", "--save-every=1000", chain)...)
			c.Ranks = g
			must(t, g.Divide(c.Chain))
			on := t.Context()
			if r == 2 {
				on = ctx
			}
			to := &until{text: "train 1/", then: cancel}
			if r > 0 {
				to.text = "\x00"
			}
			wg.Go(func() { _, all[r] = train.Run(on, c, cpu.New(1), to) })
		}
		wg.Wait()
		for r, err := range all {
			if errs.Code(err) != 130 && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: rank %d: %v", chain, r, err)
			}
		}
		if dirs, _ := filepath.Glob(filepath.Join(out, "checkpoints", "step-*")); len(dirs) != 1 {
			t.Errorf("%s: checkpoints %v", chain, dirs)
		}
	}
}

// until is a log that does something once it has a text.
type until struct {
	bytes.Buffer
	text string
	then func()
}

func (u *until) Write(b []byte) (int, error) {
	if strings.Contains(string(b), u.text) {
		u.then()
	}
	return u.Buffer.Write(b)
}
