package extend_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/extend"
	"longlora/internal/files"
	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
)

// flip changes a bit of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b := testkit.Read(t, path)
	b[len(b)/2] ^= 1
	testkit.Write(t, path, b)
}

// listing are the files of a folder with their contents.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[strings.TrimPrefix(p, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wants checks the exit code and the text of a refusal, and that it leaves --out as it is.
func wants(t *testing.T, name, out string, code int, text string, args ...string) {
	t.Helper()
	before := listing(t, out)
	_, _, err := run(t, options(t, tokens, out, args...), "")
	if errs.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: exit %d, want %d and %q: %v", name, errs.Code(err), code, text, err)
	}
	if !reflect.DeepEqual(listing(t, out), before) {
		t.Errorf("%s: --out was touched", name)
	}
}

// An --out that is neither empty nor an extend's is refused before anything is read, and left alone; no model is there
// either. Of two at one --out the second is refused.
func TestForeignOut(t *testing.T) {
	done := t.TempDir()
	eval := "--eval-data=" + evalData(t)
	if _, _, err := run(t, options(t, tokens, done, eval, "--train=false"), ""); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(done, "extend.json"))
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(own, []byte(`"seed": "0"`), []byte(`"seed": "1"`), 1)
	for name, c := range map[string]struct {
		file    string
		content []byte
		more    string
		code    int
		want    string
	}{
		"a model":           {"config.json", []byte("{}"), "--seed=0", 2, "it holds config.json"},
		"a merged model":    {"merged/model.safetensors", []byte("x"), "--seed=0", 2, "it holds merged"},
		"a training run":    {"run.json", []byte("{}"), "--seed=0", 2, "it holds run.json"},
		"another program's": {"extend.json", []byte("{}"), "--seed=0", 2, "extend.json"},
		"a damaged record":  {"extend.json", changed, "--seed=0", 4, "not as it was written"},
		"resume never":      {"extend.json", own, "--resume=never", 2, "--resume never"},
	} {
		out := t.TempDir()
		testkit.Write(t, filepath.Join(out, c.file), c.content)
		wants(t, name, out, c.code, c.want, "--model=nowhere", c.more)
	}
	out := filepath.Join(t.TempDir(), "new")
	l, err := files.Lock(out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	wants(t, "two at once", out, 2, "another extend is at work", "--model=nowhere")
}

// What was merged is what is evaluated and reported: on going on every file of it is the one that was written, and what
// was not written here is left alone.
func TestMergedIsVerified(t *testing.T) {
	out := t.TempDir()
	eval := "--eval-data=" + evalData(t)
	if _, _, err := run(t, options(t, tokens, out, eval, "--train=false"), "evaluating the interpolated"); errs.Code(err) != 130 {
		t.Fatal(err)
	}
	merged, weights := filepath.Join(out, "merged"), filepath.Join(out, "merged", "model.safetensors")
	testkit.Write(t, filepath.Join(merged, "config.json"), []byte("{}"))
	wants(t, "a foreign merged", out, 2, "was not written by this extend", eval, "--train=false")
	if err := os.RemoveAll(merged); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(out, ".merged.longlora-part", "model.safetensors"), []byte("half")) // of a killed merge
	want, _, err := run(t, options(t, tokens, out, eval, "--train=false"), "")
	if err != nil {
		t.Fatal(err)
	}
	whole := listing(t, out)
	for name := range whole {
		if strings.Contains(name, "longlora-part") {
			t.Errorf("what a killed merge left is still there: %s", name)
		}
	}
	for name, spoil := range map[string]func(){
		"a flipped bit":  func() { flip(t, weights) },
		"a missing file": func() { _ = os.Remove(weights) },
		"another config": func() { testkit.Write(t, filepath.Join(merged, "config.json"), []byte("{}")) },
	} {
		spoil()
		wants(t, name, out, 4, "move merged away", eval, "--train=false")
		if err := os.RemoveAll(merged); err != nil {
			t.Fatal(err)
		}
		got, _, err := run(t, options(t, tokens, out, eval, "--train=false"), "")
		if err != nil || !reflect.DeepEqual(got.Lengths, want.Lengths) {
			t.Errorf("%s: merged again: %v", name, err)
		}
		if now := listing(t, merged); now["/model.safetensors"] != whole["/merged/model.safetensors"] || now["/config.json"] != whole["/merged/config.json"] {
			t.Errorf("%s: not the same model again", name)
		}
	}
}

// A base or a text that is not the one that the work began with is noticed, with nothing left to train too.
func TestChangedInputs(t *testing.T) {
	model, out, text := filepath.Join(t.TempDir(), "model"), t.TempDir(), evalData(t)
	if err := os.CopyFS(model, os.DirFS(golden+"/model")); err != nil {
		t.Fatal(err)
	}
	args := []string{"--model=" + model, "--eval-data=" + text, "--train=false"}
	if _, _, err := run(t, options(t, tokens, out, args...), ""); err != nil {
		t.Fatal(err)
	}
	flip(t, text)
	wants(t, "text", out, 2, "eval.bin is not the file that the work", args...)
	flip(t, text)
	config, err := os.ReadFile(filepath.Join(model, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(model, "config.json"), append(config, '\n'))
	wants(t, "config", out, 2, "--model: config.json is not the one", args...)
	testkit.Write(t, filepath.Join(model, "config.json"), config)
	flip(t, filepath.Join(model, "model.safetensors"))
	wants(t, "weights", out, 2, "--model: model.safetensors is not the file", args...)
}

// Work that was begun before an option existed is gone on with, unless another value of it is given.
func TestYoungerOption(t *testing.T) {
	out, args := t.TempDir(), []string{"--train=false", "--eval-data=" + evalData(t)}
	if _, _, err := run(t, options(t, tokens, out, args...), ""); err != nil {
		t.Fatal(err)
	}
	var w map[string]any
	path := filepath.Join(out, "extend.json")
	if err := files.ReadJSON(path, &w); err != nil {
		t.Fatal(err)
	}
	delete(w, "sha256")
	delete(w["options"].(map[string]any), "shard-weights")
	if err := files.WriteSealed(path, w); err != nil {
		t.Fatal(err)
	}
	wants(t, "given", out, 2, `--shard-weights: the work in `+out+` began with "", this command has "off"`, append(args, "--shard-weights=off")...)
	if _, _, err := run(t, options(t, tokens, out, args...), ""); err != nil {
		t.Error(err)
	}
}

const helperArgs = "LONGLORA_TEST_EXTEND"

// TestExtendProcess is not a test of its own: the kill test runs it as the process that gets killed.
func TestExtendProcess(t *testing.T) {
	args := os.Getenv(helperArgs)
	if args == "" {
		t.Skip("runs only as the process of TestKillAnywhere")
	}
	list := strings.Split(args, "\n")
	if _, err := extend.Run(t.Context(), options(t, list[0], list[1], list[2:]...), cpu.New(1), &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
}

// Killed (SIGKILL) again and again, at random moments of every stage, the same command ends with the figures and the bytes
// of an unbroken run.
func TestKillAnywhere(t *testing.T) {
	const kills = 12
	eval := "--eval-data=" + evalData(t)
	whole, broken := t.TempDir(), t.TempDir()
	want, _, err := run(t, options(t, tokens, whole, eval), "")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, _, err := run(t, options(t, tokens, t.TempDir(), eval), ""); err != nil {
		t.Fatal(err)
	}
	whence := time.Since(begun)
	r := rand.New(rand.NewPCG(3, 4))
	for i := 0; ; i++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestExtendProcess$")
		cmd.Env = append(os.Environ(), helperArgs+"="+strings.Join([]string{tokens, broken, eval}, "\n"))
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i < kills {
			time.Sleep(time.Duration(r.Int64N(int64(whence))))
			_ = cmd.Process.Kill() // it may be done already
		}
		if err := cmd.Wait(); err == nil {
			break
		} else if i >= kills {
			t.Fatalf("%v\n%s", err, said.String())
		}
	}
	got, log, err := run(t, options(t, tokens, broken, eval), "")
	if err != nil || strings.Contains(log, "resuming") || !reflect.DeepEqual(got.Lengths, want.Lengths) {
		t.Errorf("figures %+v, want %+v, %v\n%s", got.Lengths, want.Lengths, err, log)
	}
	a, b := listing(t, whole), listing(t, broken)
	for _, name := range []string{"/adapter/adapter_model.safetensors", "/merged/model.safetensors", "/merged/config.json"} {
		if a[name] != b[name] || a[name] == "" {
			t.Errorf("%s differs from an unbroken run's", name)
		}
	}
}
