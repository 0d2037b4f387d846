package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kernels "longlora/csrc/cpu"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/ops/cpu"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// copyRun is a copy of a run's folder.
func copyRun(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// flip changes a bit in the middle of a file, its time kept.
func flip(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Read(t, path)
	b[len(b)/2] ^= 1
	testkit.Write(t, path, string(b))
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// An --out that is neither empty nor a run is refused before anything is read: no model is there either.
func TestForeignOut(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	done1 := t.TempDir()
	e.Steps = 1
	run(t, goldenArgs("mha-linear", e, done1)...)
	own := string(testkit.Read(t, filepath.Join(done1, "run.json")))
	old := string(files.Seal([]byte(strings.Replace(own[:strings.LastIndex(own, `,`)]+"\n}", "training run 2", "training run 1", 1))))
	for name, c := range map[string]struct {
		holds map[string]string
		more  []string
		code  int
		want  string
	}{
		"a model":                 {map[string]string{"config.json": "{}", "model.safetensors": "x"}, nil, 2, "config.json"},
		"an adapter":              {map[string]string{"adapter_model.safetensors": "x"}, nil, 2, "adapter_model.safetensors"},
		"a hidden file":           {map[string]string{".config.tmp/x": "x"}, nil, 2, ".config.tmp"},
		"foreign checkpoints":     {map[string]string{"checkpoints/step-000001/model.safetensors": "x"}, nil, 2, "checkpoints"},
		"a foreign run.json":      {map[string]string{"run.json": `{"positions": {}}`}, nil, 2, "run.json"},
		"another version's run":   {map[string]string{"run.json": old}, nil, 2, "another version"},
		"a damaged record":        {map[string]string{"run.json": strings.Replace(own, `"seed": 0`, `"seed": 1`, 1)}, nil, 4, "run.json"},
		"half a record":           {map[string]string{"run.json": own[:len(own)/2]}, nil, 4, "run.json"},
		"a run, --resume never":   {map[string]string{"run.json": own}, []string{"--resume=never"}, 2, "--resume never"},
		"a model, --tune full":    {map[string]string{"config.json": "{}"}, []string{"--tune=full"}, 2, "config.json"},
		"a model, --resume never": {map[string]string{"config.json": "{}"}, []string{"--resume=never"}, 2, "config.json"},
		"a model, --dry-run":      {map[string]string{"config.json": "{}"}, []string{"--dry-run"}, 2, "config.json"},
		"half-written files":      {map[string]string{".run.json.longlora-0123456789abcdef.tmp": "x"}, nil, 4, "nowhere"},
	} {
		out := filepath.Join(t.TempDir(), "a[1]*")
		for f, text := range c.holds {
			testkit.Write(t, filepath.Join(out, f), text)
		}
		before := listing(t, out)
		err := runError(t, append([]string{"--model=nowhere", "--data=nowhere", "--ctx=64", "--out=" + out}, c.more...)...)
		if errs.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want %d naming %s: %v", name, errs.Code(err), c.code, c.want, err)
		}
		if after := listing(t, out); after != before {
			t.Errorf("%s: touched:\n%s\nbefore:\n%s", name, after, before)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("gone", link); err != nil {
		t.Fatal(err)
	}
	if err := runError(t, "--model=nowhere", "--data=nowhere", "--ctx=64", "--out="+link); errs.Code(err) != 2 || !strings.Contains(err.Error(), "a link to gone") {
		t.Errorf("a link to nothing: %v", err)
	}
}

// A run in a folder whose name is full of what patterns mean goes on there; one run at a time.
func TestOutOfAnyName(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	out := filepath.Join(t.TempDir(), "[a]*?\\{b}", "2024.10")
	e.Steps = 2
	run(t, goldenArgs("mha-linear", e, out, "--save-every=1")...)
	e.Steps = 4
	run(t, goldenArgs("mha-linear", e, out, "--save-every=1")...)
	whole := t.TempDir()
	run(t, goldenArgs("mha-linear", e, whole)...)
	if len(metrics(t, out)) != 4 || adapterOf(t, out) != adapterOf(t, whole) {
		t.Error("not the bits of an unbroken run")
	}
	events, err := os.ReadDir(filepath.Join(out, "tensorboard"))
	if err != nil || len(events) != 1 {
		t.Errorf("event files: %v, %v", events, err)
	}
	l, err := files.Lock(out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := runError(t, goldenArgs("mha-linear", e, out)...); errs.Code(err) != 2 || !strings.Contains(err.Error(), "another run is at work") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
}

// adapterOf is a run's adapter.
func adapterOf(t *testing.T, out string) string {
	return string(testkit.Read(t, filepath.Join(out, "adapter_model.safetensors")))
}

// Whatever is wrong with the newest checkpoint is said, nothing is removed, and the command that is offered goes on from
// the one before it, to the bits of an unbroken run.
func TestDamagedCheckpoints(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	const more1, more2 = "--save-every=2", "--keep=3"
	broken, whole := t.TempDir(), t.TempDir()
	e.Steps = 6
	run(t, goldenArgs("mha-linear", e, broken, more1, more2)...)
	e.Steps = 8
	run(t, goldenArgs("mha-linear", e, whole)...)
	edit := func(old, new string) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, "run.json")
			text := string(testkit.Read(t, path))
			if strings.Replace(text, old, new, 1) == text {
				t.Fatalf("%s is not in %s", old, path)
			}
			testkit.Write(t, path, strings.Replace(text, old, new, 1))
		}
	}
	resealed := func(change func(*train.Record)) func(string) {
		return func(dir string) {
			r, err := train.ReadRecord(dir)
			if err != nil {
				t.Fatal(err)
			}
			change(r)
			if err := files.WriteSealed(filepath.Join(dir, "run.json"), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(string) {
		return func(dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(dir string)
		want   string
	}{
		"a flipped bit of the adapter": {func(d string) { flip(t, filepath.Join(d, "adapter_model.safetensors")) }, "adapter_model.safetensors: not the file"},
		"a flipped bit of its config":  {func(d string) { flip(t, filepath.Join(d, "adapter_config.json")) }, "adapter_config.json: not the file"},
		"a flipped bit of the moments": {func(d string) { flip(t, filepath.Join(d, "optimizer.safetensors")) }, "optimizer.safetensors: not the file"},
		"no moments":                   {remove("optimizer.safetensors"), "optimizer.safetensors: no such file"},
		"no record":                    {remove("run.json"), "run.json: no such file"},
		"half a record": {func(d string) {
			testkit.Write(t, filepath.Join(d, "run.json"), string(testkit.Read(t, filepath.Join(d, "run.json")))[:900])
		}, "run.json: it is not as it was written"},
		"another step in the record":     {edit(`"step": 6`, `"step": 1`), "run.json: it is not as it was written"},
		"another step, sealed":           {resealed(func(r *train.Record) { r.State.Step = 1 }), "is of step 1"},
		"no files in the record":         {resealed(func(r *train.Record) { r.Files = nil }), "not a checkpoint's record"},
		"a file elsewhere in the record": {resealed(func(r *train.Record) { r.Files[0].Name = "../step-000004/optimizer.safetensors" }), "no file's name"},
		"tokens below none":              {resealed(func(r *train.Record) { r.State.Tokens = -1 }), "state"},
		"pending of another step":        {resealed(func(r *train.Record) { r.State.Pending = &rundir.Metrics{Step: 3} }), "state"},
		"no tile":                        {resealed(func(r *train.Record) { r.Plan.Tile = 0 }), "plan: tile: 0"},
		"a tile below none":              {resealed(func(r *train.Record) { r.Plan.Tile = -1 << 62 }), "plan: tile"},
		"a tile beyond the row":          {resealed(func(r *train.Record) { r.Plan.Tile = 1 << 40 }), "plan: tile"},
		"no rows of the MLP":             {resealed(func(r *train.Record) { r.Plan.MLPRows = 0 }), "plan: mlp_rows"},
		"rows of logits below none":      {resealed(func(r *train.Record) { r.Plan.HeadRows = -5 }), "plan: head_rows"},
		"more layers moved than are":     {resealed(func(r *train.Record) { r.Plan.Moved = 99 }), "plan: moved"},
		"more layers keep more":          {resealed(func(r *train.Record) { r.Plan.More = 99 }), "plan: more"},
	} {
		out := copyRun(t, broken)
		c.damage(filepath.Join(out, "checkpoints", "step-000006"))
		before := listing(t, out)
		err := runError(t, goldenArgs("mha-linear", e, out, more1, more2)...)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want 4 saying %q: %v", name, errs.Code(err), c.want, err)
			continue
		}
		if after := listing(t, out); after != before {
			t.Errorf("%s: touched:\n%s\nbefore:\n%s", name, after, before)
		}
		var advice errs.Advice
		if !errors.As(err, &advice) || !strings.Contains(err.Error(), "of step 4, is whole: "+advice.Error()) {
			t.Errorf("%s: no command that goes on in %q", name, err)
			continue
		}
		run(t, goldenArgs("mha-linear", e, out, more1, more2, advice.String())...)
		if adapterOf(t, out) != adapterOf(t, whole) || len(metrics(t, out)) != 8 {
			t.Errorf("%s: gone on from step 4: not the bits of an unbroken run", name)
		}
	}
	out := copyRun(t, broken)
	for _, s := range []string{"2", "4", "6"} {
		flip(t, filepath.Join(out, "checkpoints", "step-00000"+s, "optimizer.safetensors"))
	}
	if err := runError(t, goldenArgs("mha-linear", e, out)...); errs.Code(err) != 4 || !strings.Contains(err.Error(), "No whole checkpoint is left") {
		t.Errorf("all damaged: %v", err)
	}
	if err := runError(t, goldenArgs("mha-linear", e, t.TempDir(), "--resume="+filepath.Join(out, "checkpoints", "step-000006"))...); errs.Code(err) != 4 || !strings.Contains(err.Error(), "optimizer.safetensors") {
		t.Errorf("--resume of a damaged one: %v", err)
	}
}

// A finished run whose result is gone gets it again from its last checkpoint; one whose result is another file is not
// called finished.
func TestFinishedResultGone(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 2
	done := t.TempDir()
	first, _ := run(t, goldenArgs("mha-linear", e, done)...)
	adapter := "adapter_model.safetensors"
	for _, gone := range []string{adapter, "adapter_config.json"} {
		out := copyRun(t, done)
		if err := os.Remove(filepath.Join(out, gone)); err != nil {
			t.Fatal(err)
		}
		first.Out = out
		res, log := run(t, goldenArgs("mha-linear", e, out)...)
		if res != first || strings.Contains(log, "finished already") || !strings.Contains(log, gone+": no such file") || string(testkit.Read(t, filepath.Join(out, gone))) != string(testkit.Read(t, filepath.Join(done, gone))) {
			t.Errorf("%s gone: %+v, want %+v\n%s", gone, res, first, log)
		}
		if _, log := run(t, goldenArgs("mha-linear", e, out)...); !strings.Contains(log, "finished already") {
			t.Errorf("not finished then:\n%s", log)
		}
	}
	out := copyRun(t, done)
	flip(t, filepath.Join(out, adapter))
	err := runError(t, goldenArgs("mha-linear", e, out)...)
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), adapter+": not the file that was written") || !strings.Contains(err.Error(), "step-000002") {
		t.Errorf("damaged: exit %d: %v", errs.Code(err), err)
	}
	if err := os.Remove(filepath.Join(out, adapter)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(out, "checkpoints")); err != nil {
		t.Fatal(err)
	}
	if err := runError(t, goldenArgs("mha-linear", e, out)...); errs.Code(err) != 4 || !strings.Contains(err.Error(), adapter) || !strings.Contains(err.Error(), "its last checkpoint is gone too") {
		t.Errorf("checkpoints gone too: exit %d: %v", errs.Code(err), err)
	}
}

// The record of the run itself may be gone: its checkpoints tell whose folder it is. Lost lines of metrics are said.
func TestLostRecordAndLines(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 2
	out, whole := t.TempDir(), t.TempDir()
	run(t, goldenArgs("mha-linear", e, out)...)
	for _, n := range []string{"run.json", "metrics.jsonl"} {
		if err := os.Remove(filepath.Join(out, n)); err != nil {
			t.Fatal(err)
		}
	}
	e.Steps = 3
	_, log := run(t, goldenArgs("mha-linear", e, out)...)
	if !strings.Contains(log, "metrics.jsonl has lost the lines of 2 steps") {
		t.Errorf("lost lines are not said:\n%s", log)
	}
	run(t, goldenArgs("mha-linear", e, whole)...)
	if adapterOf(t, out) != adapterOf(t, whole) {
		t.Error("not the bits of an unbroken run")
	}
}

// meddler does something when it is looked at for the n-th time.
type meddler struct {
	context.Context
	left int
	f    func()
}

func (m *meddler) Err() error {
	if m.left--; m.left == 0 {
		m.f()
	}
	return m.Context.Err()
}

// A run whose folder or metrics are taken away while it trains ends with exit 4 at the next step, and writes into no
// folder of somebody else.
func TestOutTakenAway(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 500
	for name, c := range map[string]struct {
		f    func(out string) error
		want string
	}{
		"removed":         {os.RemoveAll, "removed or moved away"},
		"moved":           {func(out string) error { return os.Rename(out, out+"-2") }, "removed or moved away"},
		"replaced":        {func(out string) error { return firstOf(os.Rename(out, out+"-2"), os.Mkdir(out, 0o755)) }, "removed or moved away"},
		"metrics removed": {func(out string) error { return os.Remove(filepath.Join(out, "metrics.jsonl")) }, "metrics.jsonl"},
	} {
		out := filepath.Join(t.TempDir(), "run")
		var meddled error
		ctx := &meddler{t.Context(), 40, func() { meddled = c.f(out) }}
		_, err := train.Run(ctx, options(t, goldenArgs("mha-linear", e, out, "--save-every=2")...), cpu.New(2), &bytes.Buffer{})
		if meddled != nil {
			t.Fatal(meddled)
		}
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), out) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d: %v", name, errs.Code(err), err)
		}
		if _, err := os.Stat(out); name != "metrics removed" && name != "replaced" && err == nil {
			t.Errorf("%s: %s is there again", name, out)
		} else if list, _ := os.ReadDir(out); name == "replaced" && len(list) > 0 {
			t.Errorf("written into a foreign folder: %v", list)
		}
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Going on with another instruction set is allowed, and said.
func TestOtherKernels(t *testing.T) {
	if kernels.Best() == kernels.Plain {
		t.Skip("there is one instruction set only")
	}
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 1
	out := t.TempDir()
	run(t, goldenArgs("mha-linear", e, out)...)
	e.Steps = 2
	var log bytes.Buffer
	if _, err := train.Run(t.Context(), options(t, goldenArgs("mha-linear", e, out)...), cpu.NewSet(2, kernels.Plain), &log); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("computed with kernels for %s, this is plain: the last bits may differ", kernels.Best()); !strings.Contains(log.String(), want) {
		t.Errorf("%q is not in\n%s", want, log.String())
	}
}

// A change anywhere in what a run was made of is seen, also in the middle of a file and with its time set back.
func TestChangedInTheMiddle(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	dir := filepath.Join(t.TempDir(), "inputs")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, "mha-linear"))); err != nil {
		t.Fatal(err)
	}
	tokens := []byte(strings.Repeat(string(testkit.Read(t, filepath.Join(dir, "tokens.bin"))), 400)) // several MiB
	args := func(out string) []string {
		a := goldenArgs("mha-linear", e, out)
		for i := range a {
			a[i] = strings.Replace(a[i], filepath.Join(goldenDir, "mha-linear"), dir, 1)
		}
		return a
	}
	testkit.Write(t, filepath.Join(dir, "tokens.bin"), string(tokens))
	e.Steps = 1
	out := t.TempDir()
	run(t, args(out)...)
	e.Steps = 2
	for _, c := range []struct{ file, want string }{
		{"tokens.bin", "--data was tokens.bin"}, {"model/model.safetensors", "--model was model.safetensors"},
		{"adapter-init/adapter_model.safetensors", "--adapter was adapter_model.safetensors"}, {"model/config.json", "--model: config.json"},
	} {
		path := filepath.Join(dir, c.file)
		was := string(testkit.Read(t, path))
		if strings.HasSuffix(c.file, ".json") {
			var v map[string]any
			if err := json.Unmarshal([]byte(was), &v); err != nil {
				t.Fatal(err)
			}
			v["note"] = "other"
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			testkit.Write(t, path, string(b))
		} else {
			flip(t, path)
		}
		if err := runError(t, args(out)...); errs.Code(err) != 2 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want 2 saying %q: %v", c.file, errs.Code(err), c.want, err)
		}
		testkit.Write(t, path, was)
	}
	run(t, args(out)...) // the same again: copies with other times are no change
}

// A run that was begun before an option existed goes on: it did what the option's default says. Another value of it, once
// given, is another run's.
func TestYoungerOption(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	e.Steps = 2
	out := t.TempDir()
	args := goldenArgs("mha-linear", e, out)
	run(t, args...)
	from := filepath.Join(out, "checkpoints", "step-000002")
	for _, dir := range []string{out, from} {
		r, err := train.ReadRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, had := r.Options["shard-weights"]; !had {
			t.Fatalf("%s has no such option: %v", dir, r.Options)
		}
		delete(r.Options, "shard-weights")
		if err := files.WriteSealed(filepath.Join(dir, "run.json"), r); err != nil {
			t.Fatal(err)
		}
	}
	e.Steps = 3
	args = goldenArgs("mha-linear", e, out)
	err := runError(t, append(args, "--shard-weights=off")...)
	if want := "--shard-weights was not set, now it is off"; errs.Code(err) != 2 || !strings.Contains(err.Error(), want) {
		t.Errorf("exit %d, want 2 saying %q: %v", errs.Code(err), want, err)
	}
	if _, log := run(t, args...); !strings.Contains(log, "resuming") || len(metrics(t, out)) != 3 {
		t.Errorf("begun anew:\n%s", log)
	}
}

// Data whose name is in another encoding, which no JSON document can hold, is the same data when the run goes on.
func TestDataOfAnyName(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	data, out := filepath.Join(t.TempDir(), "caf\xE9.bin"), t.TempDir()
	testkit.Write(t, data, string(testkit.Read(t, filepath.Join(goldenDir, "mha-linear", "tokens.bin"))))
	for steps := 1; steps <= 2; steps++ {
		e.Steps = steps
		args := goldenArgs("mha-linear", e, out)
		args[1] = "--data=" + data
		if r, _ := run(t, args...); r.Steps != steps {
			t.Errorf("%d steps, want %d", r.Steps, steps)
		}
	}
}
