package extend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
	"longlora/internal/testkit/flags"
)

const (
	golden = "../../testdata/golden/mha-linear"
	tokens = golden + "/tokens.bin"
)

// options reads a command line of extend; the model was trained on 32 tokens, reads 128 and goes to 256.
func options(t *testing.T, data, out string, more ...string) *extend.Options {
	t.Helper()
	args := append([]string{"--model=" + golden + "/model", "--data=" + data, "--out=" + out, "--ctx=256", "--base-ctx=32",
		"--steps=6", "--accum=1", "--warmup-steps=0", "--lr=1e-3", "--save-every=2", "--full-last=0.5"}, more...)
	c, err := flags.Parse(t, "extend", append([]string{"--recipe=paper"}, args...)).Extend()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// stopAt cancels when the log says something.
type stopAt struct {
	bytes.Buffer
	when *regexp.Regexp
	stop context.CancelFunc
}

func (s *stopAt) Write(b []byte) (int, error) {
	if s.when != nil && s.when.Match(b) {
		s.stop()
	}
	return s.Buffer.Write(b)
}

func run(t *testing.T, c *extend.Options, stopWhen string) (extend.Report, string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &stopAt{stop: cancel}
	if stopWhen != "" {
		log.when = regexp.MustCompile(stopWhen)
	}
	rep, err := extend.Run(ctx, c, cpu.New(1), log)
	return rep, log.String(), err
}

// evalData is 700 tokens: windows of 128 and of 256, none of 512.
func evalData(t *testing.T) string {
	t.Helper()
	b := testkit.Read(t, tokens)
	path := filepath.Join(t.TempDir(), "eval.bin")
	testkit.Write(t, path, b[:2*700])
	return path
}

// Interrupted in every stage, the same command goes on, and ends with the same figures and the same bytes.
func TestInterruptedAndResumed(t *testing.T) {
	eval := "--eval-data=" + evalData(t)
	whole, broken := t.TempDir(), t.TempDir()
	want, _, err := run(t, options(t, tokens, whole, eval), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"^ppl 256", "evaluating the interpolated", "^train 1/6", "evaluating the trained"} {
		if _, log, err := run(t, options(t, tokens, broken, eval), when); errs.Code(err) != 130 {
			t.Fatalf("stopped at %q: %v\n%s", when, err, log)
		}
		if _, err := os.Stat(filepath.Join(broken, "report.json")); err == nil {
			t.Fatalf("stopped at %q: the report is there already", when)
		}
	}
	got, log, err := run(t, options(t, tokens, broken, eval), "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, "finished already") {
		t.Errorf("the training was done again:\n%s", log)
	}
	if got.Train.FullSteps != 3 {
		t.Errorf("%d of 6 steps attended fully", got.Train.FullSteps)
	}
	if !reflect.DeepEqual(got.Lengths, want.Lengths) {
		t.Errorf("figures %+v, want %+v", got.Lengths, want.Lengths)
	}
	for _, f := range []string{"adapter/adapter_model.safetensors", "merged/model.safetensors", "merged/config.json"} {
		a, err := os.ReadFile(filepath.Join(whole, f))
		b, err2 := os.ReadFile(filepath.Join(broken, f))
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from an unbroken run's (%v, %v)", f, err, err2)
		}
	}
	if _, log, err = run(t, options(t, tokens, broken, eval), ""); err != nil || strings.Contains(log, "ppl 256") {
		t.Errorf("the evaluation was done again, %v:\n%s", err, log)
	}
	// Another command is refused in the same folder, naming the difference.
	for _, other := range []string{"--rank=4", "--eval-data=" + evalData(t)} {
		flag, _, _ := strings.Cut(other, "=")
		if _, _, err := run(t, options(t, tokens, broken, eval, other), ""); errs.Code(err) != 2 || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// The lengths are what the base reads, doubled up to ctx, and ctx; what has no window is said and left out, and so is
// passkey without a tokenizer. report.json is what was returned.
func TestLengthsAndWhatIsLeftOut(t *testing.T) {
	out := t.TempDir()
	rep, log, err := run(t, options(t, tokens, out, "--eval-data="+evalData(t), "--ctx=600", "--steps=1"), "")
	if err != nil {
		t.Fatal(err)
	}
	var ctx []int
	for _, l := range rep.Lengths {
		ctx = append(ctx, l.Ctx)
		for what, f := range map[string]eval.Figures{"base": l.Base, "interpolated": l.Interpolated, "trained": l.Trained} {
			if (f.PPL != nil) != (l.Ctx < 512) || f.Accuracy != nil {
				t.Errorf("%s at %d: %+v", what, l.Ctx, f)
			}
		}
	}
	if !reflect.DeepEqual(ctx, []int{128, 256, 512, 600}) {
		t.Errorf("lengths %v", ctx)
	}
	for _, s := range []string{"ppl at 600 tokens is left out", "passkey at 128 tokens is left out"} {
		if !strings.Contains(log, s) {
			t.Errorf("the log does not say %q:\n%s", s, log)
		}
	}
	b := testkit.Read(t, filepath.Join(out, "report.json"))
	want, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var x, y any
	if json.Unmarshal(b, &x) != nil || json.Unmarshal(want, &y) != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("report.json is %s, want %s", b, want)
	}
	var table bytes.Buffer
	rep.Table(&table)
	if n := strings.Count(table.String(), "\n"); n != 5 || !strings.Contains(table.String(), "600") {
		t.Errorf("table:\n%s", table.String())
	}
}

// Before anything is computed the plan of the training and the time of all of it are said; the plan is not said again.
// Trials and depths are the passkeys of a length.
func TestBeginsWithThePlan(t *testing.T) {
	c := options(t, tokens, t.TempDir(), "--eval-data="+evalData(t), "--steps=1", "--trials=2", "--depths=3")
	rep, log, err := run(t, c, "")
	if err != nil {
		t.Fatal(err)
	}
	before, after, begun := strings.Cut(log, "evaluating the base model")
	for _, s := range []string{"\npositions ", "\nmemory ", "s for 1 step\n",
		"at 128, 256 tokens, 32 windows and 6 passkeys each: about ", "\nin all      about "} {
		if !begun || !strings.Contains("\n"+before, s) {
			t.Errorf("the beginning does not say %q:\n%s", s, before)
		}
	}
	if strings.Contains(after, "\npositions ") || !strings.Contains(after, "\ntrain 1/1") {
		t.Errorf("the plan is said again, or nothing was trained:\n%s", after)
	}
	if len(rep.Lengths) != 2 {
		t.Errorf("%+v", rep.Lengths)
	}
}

// Without training the weights stay and only the positions change: the trained figures are the interpolated ones.
func TestOnlyInterpolated(t *testing.T) {
	out := t.TempDir()
	rep, _, err := run(t, options(t, tokens, out, "--eval-data="+evalData(t), "--train=false"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range rep.Lengths {
		if *l.Trained.PPL != *l.Interpolated.PPL || *l.Base.PPL == *l.Interpolated.PPL {
			t.Errorf("at %d: base %v, interpolated %v, merged %v", l.Ctx, *l.Base.PPL, *l.Interpolated.PPL, *l.Trained.PPL)
		}
	}
	if rep.Train != nil {
		t.Error("a training result without training")
	}
	if _, err := os.Stat(filepath.Join(out, "adapter")); err == nil {
		t.Error("an adapter without training")
	}
	var c struct {
		Max     int `json:"max_position_embeddings"`
		Orig    int `json:"original_max_position_embeddings"`
		Scaling struct {
			Factor float64 `json:"factor"`
		} `json:"rope_scaling"`
	}
	b, err := os.ReadFile(filepath.Join(out, "merged/config.json"))
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Max != 256 || c.Orig != 32 || c.Scaling.Factor != 8 {
		t.Errorf("config %+v %v", c, err)
	}
}

// The last 5 % of the documents are evaluated on and never trained on.
func TestHeldOut(t *testing.T) {
	dir := t.TempDir()
	once := testkit.Read(t, tokens)
	data := filepath.Join(dir, "data.bin")
	all := bytes.Repeat(once, 16) // 20,480 tokens: the last 1024 are held out
	testkit.Write(t, data, all)
	rep, log, err := run(t, options(t, data, filepath.Join(dir, "a"), "--steps=1"), "")
	if err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(dir, "held.bin")
	testkit.Write(t, held, all[len(all)-2*1024:])
	same, _, err := run(t, options(t, data, filepath.Join(dir, "b"), "--steps=1", "--eval-data="+held), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range rep.Lengths {
		if l.Base.PPL == nil || *l.Base.PPL != *same.Lengths[i].Base.PPL {
			t.Errorf("at %d the held-out text gives %v, the same text as --eval-data %v", l.Ctx, l.Base.PPL, same.Lengths[i].Base.PPL)
		}
	}
	if !strings.Contains(log, "(19456 tokens read)") {
		t.Errorf("the training does not read what is left, 19456 tokens:\n%s", log)
	}
}
