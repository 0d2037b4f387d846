package train_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/ops/cpu"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// How rows are divided into micro-batches changes rounding only, with documents cut and dropout on too.
func TestBatchAndAccumulationAgree(t *testing.T) {
	e := testkit.Golden(t, "gqa-llama3")
	e.Steps = 2
	var first map[string][]float32
	var lines []rundir.Metrics
	for _, split := range [][]string{{"--batch=1", "--accum=6"}, {"--batch=3", "--accum=2", "--tile=100"}, {"--batch=6", "--accum=1", "--tile=77"}} {
		out := t.TempDir()
		run(t, goldenArgs("gqa-llama3", e, out, append(split, "--dropout=0.2", "--shuffle=true")...)...)
		got, ms := testkit.Floats(t, filepath.Join(out, "adapter_model.safetensors")), metrics(t, out)
		if first == nil {
			first, lines = got, ms
			continue
		}
		for i := range ms {
			if !(math.Abs(ms[i].Loss-lines[i].Loss) <= 1e-5) || !(math.Abs(ms[i].GradNorm/lines[i].GradNorm-1) <= 1e-5) || ms[i].Tokens != lines[i].Tokens {
				t.Errorf("%v step %d: %+v, want %+v", split, i+1, ms[i], lines[i])
			}
		}
		for n, w := range first {
			if d := testkit.Relative(got[n], w); d > 1e-3 {
				t.Errorf("%v: %s is off by %g", split, n, d)
			}
		}
	}
}

// The same command gives the same bits, for any number of threads; another seed gives others.
func TestDeterminism(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 2
	adapter := func(threads int, more ...string) string {
		out := t.TempDir()
		c := options(t, goldenArgs("mha-linear", e, out, append(more, "--dropout=0.3")...)...)
		if _, err := train.Run(t.Context(), c, cpu.New(threads), &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
		b := testkit.Read(t, filepath.Join(out, "adapter_model.safetensors"))
		return string(b)
	}
	one := adapter(1)
	if adapter(3) != one {
		t.Error("three threads give other bits than one")
	}
	if adapter(1, "--seed=1") == one {
		t.Error("another seed drops the same elements")
	}
}

// A finished run prints its result again and touches nothing; more steps go on; what must not change is named.
func TestFinishedAndChangedRuns(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 2
	out := t.TempDir()
	first, _ := run(t, goldenArgs("mha-linear", e, out)...)
	before := listing(t, out)
	again, _ := run(t, goldenArgs("mha-linear", e, out, "--threads=1", "--save-every=7", "--keep=9")...)
	if again != first {
		t.Errorf("printed again: %+v, first %+v", again, first)
	}
	if after := listing(t, out); after != before {
		t.Errorf("a finished run was touched:\n%s\nbefore:\n%s", after, before)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--lr=0.5"}, []string{"--lr", "0.002", "0.5"}},
		{[]string{"--group-size=16"}, []string{"--group-size", "32", "16"}},
		{[]string{"--seed=9"}, []string{"--seed", "was 0", "is 9"}},
		{[]string{"--data=" + filepath.Join(goldenDir, "mha-linear", "tokens.bin"), "--data=" + filepath.Join(goldenDir, "mha-linear", "tokens.bin")}, []string{"--data", "nothing", "tokens.bin"}},
		{[]string{"--schedule=linear"}, []string{"--schedule was constant, now it is linear"}},
		{[]string{"--resume=never"}, []string{"--resume never", out}},
	} {
		err := runError(t, goldenArgs("mha-linear", e, out, c.args...)...)
		if errs.Code(err) != 2 {
			t.Errorf("%v: exit %d: %v", c.args, errs.Code(err), err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: %q does not name %q", c.args, err, w)
			}
		}
	}
	e.Steps = 3
	longer, _ := run(t, goldenArgs("mha-linear", e, out)...)
	whole := t.TempDir()
	want, _ := run(t, goldenArgs("mha-linear", e, whole)...)
	if longer.Steps != 3 || longer.Loss != want.Loss || longer.Tokens != want.Tokens {
		t.Errorf("prolonged: %+v, unbroken %+v", longer, want)
	}
	if a, b := written(t, out, 3), written(t, whole, 3); a["adapter_model.safetensors"] != b["adapter_model.safetensors"] {
		t.Error("a prolonged run has other bits than an unbroken one")
	}
}

// listing is every file of a folder with its size and time.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
		fmt.Fprintln(&b, p, i.Size(), i.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Under full attention the group matters where validation is under s2.
func TestChangedGroupOfValidation(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 1
	args := goldenArgs("mha-linear", e, t.TempDir(), "--attn=full", "--eval-attn=s2", "--eval-every=1", "--eval-fraction=0.5")
	run(t, args...)
	err := runError(t, append(args, "--group-size=16")...)
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "--group-size (validation) was 32, now it is 16") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
}

// The same files divided otherwise among --data are other rows.
func TestChangedSources(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 1
	dir, out := t.TempDir(), t.TempDir()
	for _, n := range []string{"a.bin", "b.bin"} {
		if err := files.CopyFile(filepath.Join(dir, n), filepath.Join(goldenDir, "mha-linear", "tokens.bin")); err != nil {
			t.Fatal(err)
		}
	}
	args := func(data ...string) []string {
		all := goldenArgs("mha-linear", e, out)
		all[1] = "--data=" + data[0]
		for _, d := range data[1:] {
			all = append(all, "--data="+d)
		}
		return all
	}
	run(t, args(dir)...)
	err := runError(t, args(filepath.Join(dir, "a.bin"), filepath.Join(dir, "b.bin"))...)
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "--data (files of each)") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
}

// A checkpoint's folder is gone on from, in its own run and in another's; --keep drops the oldest.
func TestResumeFromFolder(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 4
	out, whole := t.TempDir(), ""
	run(t, goldenArgs("mha-linear", e, out, "--save-every=1", "--keep=3")...)
	dirs, err := os.ReadDir(filepath.Join(out, "checkpoints"))
	if err != nil || len(dirs) != 3 || dirs[0].Name() != "step-000002" {
		t.Fatalf("kept %v, %v", dirs, err)
	}
	whole = written(t, out, 4)["adapter_model.safetensors"]
	second := t.TempDir()
	res, _ := run(t, goldenArgs("mha-linear", e, second, "--resume="+filepath.Join(out, "checkpoints", "step-000002"))...)
	if res.Steps != 4 || len(metrics(t, second)) != 4 || written(t, second, 4)["adapter_model.safetensors"] != whole {
		t.Errorf("gone on in another folder: %+v, %d lines", res, len(metrics(t, second)))
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := runError(t, goldenArgs("mha-linear", e, none, "--resume="+second)...); errs.Code(err) != 4 || !strings.Contains(err.Error(), "not a checkpoint's folder") {
		t.Errorf("a run's own folder taken for a checkpoint: %v", err)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a run that did not begin leaves its folder")
	}
	if err := runError(t, goldenArgs("mha-linear", e, t.TempDir(), "--resume=nowhere")...); errs.Code(err) != 4 {
		t.Errorf("a missing checkpoint: %v", err)
	}
}

// Torn lines and half-written checkpoints of a killed run disappear.
func TestLeftoversOfAKill(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 4
	out := t.TempDir()
	c := options(t, goldenArgs("mha-linear", e, out, "--save-every=2")...)
	if _, err := train.Run(&fuse{t.Context(), 5}, c, cpu.New(2), &bytes.Buffer{}); errs.Code(err) != 130 {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(out, "metrics.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"step":3,"loss":1}` + "\n" + `{"step":4,"lo`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	foreign := []string{filepath.Join(out, ".config.tmp", "x"), filepath.Join(out, ".notes.tmp-old"), filepath.Join(out, "checkpoints", ".step-77.tmp", "x")}
	for _, p := range foreign {
		testkit.Write(t, p, "precious")
	}
	testkit.Write(t, filepath.Join(out, ".run.json.longlora-0123456789abcdef.tmp"), "half")
	testkit.Write(t, filepath.Join(out, "checkpoints", ".step-000003.longlora-0123456789abcdef.tmp", "run.json"), "half")
	run(t, goldenArgs("mha-linear", e, out, "--save-every=2")...)
	if n := len(metrics(t, out)); n != 4 {
		t.Errorf("%d lines", n)
	}
	if s := listing(t, out); strings.Contains(s, ".longlora-") {
		t.Errorf("left over:\n%s", s)
	}
	for _, p := range foreign {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("what is not the run's is gone: %s", p)
		}
	}
}

// NaN in the weights ends with exit 5 and names the step; no update is applied.
func TestNaN(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	dir := t.TempDir()
	m, err := ckpt.OpenModel(filepath.Join(goldenDir, "mha-linear", "model"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var outs []ckpt.Out
	for n, x := range m.Tensors {
		v := x.Floats()
		if n == "model.layers.1.mlp.up_proj.weight" {
			v[5] = float32(math.NaN())
		}
		outs = append(outs, ckpt.FromFloats(n, tensor.Shape(x.Shape), v).Out())
	}
	if err := ckpt.WriteSafetensors(filepath.Join(dir, "model.safetensors"), outs); err != nil {
		t.Fatal(err)
	}
	if err := files.CopyFile(filepath.Join(dir, "config.json"), filepath.Join(m.Dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	err = runError(t, goldenArgs("mha-linear", e, out, "--model="+dir)...)
	if errs.Code(err) != 5 || !strings.Contains(err.Error(), "step 1") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
	if r, err := train.ReadRecord(out); err != nil || !strings.Contains(r.Failed, "step 1: the loss is NaN") {
		t.Errorf("the record says %q, %v", r.Failed, err)
	}
}

// Options that disagree with the adapter, an --out that is read from, what does not fit.
func TestRefusals(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	dir := filepath.Join(goldenDir, "mha-linear")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--rank=8"}, 2, "--rank 8"},
		{[]string{"--targets=q_proj"}, 2, "--targets"},
		{[]string{"--train-norm=false"}, 2, "--train-norm"},
		{[]string{"--out=" + filepath.Join(dir, "model")}, 2, "--out"},
		{[]string{"--out=" + filepath.Join(dir, "adapter-init")}, 2, "--out"},
		{[]string{"--model=nowhere"}, 4, "nowhere"},
		{[]string{"--adapter=" + filepath.Join(goldenDir, "gqa-llama3", "adapter-init")}, 4, "model"},
		{[]string{"--host-mem=1MiB"}, 3, "--host-mem"},
		{[]string{"--eval-data=nowhere"}, 4, "--eval-data nowhere"},
		{[]string{"--eval-data=" + tokenFile(t, []uint16{5, 6})}, 4, "tokens.bin: no whole row of --ctx"},
		{[]string{"--eval-data=" + filepath.Join(dir, "tokens.bin") + ":0.5"}, 2, "--eval-data"},
	} {
		args := goldenArgs("mha-linear", e, t.TempDir(), c.args...)
		err := runError(t, args...)
		if errs.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: exit %d, want %d naming %s: %v", c.args, errs.Code(err), c.code, c.want, err)
		}
	}
}

// Less than one row of data is refused.
func TestTooLittleData(t *testing.T) {
	err := runError(t, "--model="+filepath.Join(goldenDir, "mha-linear", "model"), "--data="+tokenFile(t, []uint16{5, 6, 7, 8}), "--ctx=8", "--out="+t.TempDir())
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "--ctx 8") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
}

// Training every weight from config.json alone is reproducible and leaves a checkpoint that opens.
func TestInitRandom(t *testing.T) {
	dir := filepath.Join(goldenDir, "gqa-llama3")
	var first string
	for range 2 {
		out := t.TempDir()
		run(t, "--model="+filepath.Join(dir, "model"), "--data="+filepath.Join(dir, "tokens.bin"), "--out="+out, "--ctx=64", "--init=random", "--tune=full",
			"--steps=3", "--accum=2", "--lr=0.001", "--warmup-steps=0", "--save-every=1")
		b := testkit.Read(t, filepath.Join(out, "model.safetensors"))
		if first != "" && first != string(b) {
			t.Error("two runs of one seed differ")
		}
		first = string(b)
		m, err := ckpt.OpenModel(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.Tensors["lm_head.weight"]; ok {
			t.Error("a tied model has a head of its own")
		}
		m.Close()
	}
}
