package train_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/testkit"
)

// withTokenizer is a reference model's folder with the tokenizer of testdata in it.
func withTokenizer(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{filepath.Join(goldenDir, name, "model", "config.json"), filepath.Join(goldenDir, name, "model", "model.safetensors"), "../../testdata/tokenizer/tokenizer.json"} {
		if err := files.CopyFile(filepath.Join(dir, filepath.Base(p)), p); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// windowed is the same as a Mistral, whose layers have a sliding window of w tokens.
func windowed(t *testing.T, name string, w int) string {
	t.Helper()
	dir := withTokenizer(t, name)
	path, raw := filepath.Join(dir, "config.json"), map[string]any{}
	if err := files.ReadJSON(path, &raw); err != nil {
		t.Fatal(err)
	}
	raw["architectures"], raw["model_type"], raw["sliding_window"] = []string{"MistralForCausalLM"}, "mistral", w
	if err := files.WriteJSON(path, raw); err != nil {
		t.Fatal(err)
	}
	return dir
}

// prepare tokenizes a file for a model.
func prepare(t *testing.T, model, src, template string) string {
	t.Helper()
	dir, vocab, eos, err := load.TokenizerOf(model)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := load.Documents(dir, vocab, eos, data.Options{Format: "auto", Template: template, TextField: "text"})
	if err != nil {
		t.Fatal(err)
	}
	o.Paths = []string{src}
	bin := filepath.Join(t.TempDir(), "a.bin")
	if _, err := data.Prepare(t.Context(), o, bin, "test"); err != nil {
		t.Fatal(err)
	}
	return bin
}

var documents = map[string]string{
	"text": strings.Repeat("{\"text\":\"the bread is in the oven and on the table of the inn\"}\n{\"text\":\"to be or not\"}\n", 9),
	"alpaca": strings.Repeat("{\"instruction\":\"who and where?\",\"input\":\"in the inn\",\"output\":\"the otter is there\"}\n"+
		"{\"instruction\":\"again and again and again the same old question and the same old answer to it\",\"output\":\"no\"}\n{\"instruction\":\"\",\"output\":\"yes\"}\n", 5),
	"chat": strings.Repeat("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"oh\"},{\"role\":\"user\",\"content\":\"and?\"},{\"role\":\"assistant\",\"content\":\"bye\"}]}\n"+
		"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"the answer\"}]}\n", 7),
}

// A prepared file trains exactly as its source: the same losses and the same adapter, bit for bit, under every pack.
func TestPreparedTrainsAsItsSource(t *testing.T) {
	model := withTokenizer(t, "mha-linear")
	for name, content := range documents {
		src := testkit.Temp(t, name+".jsonl", content)
		bin := prepare(t, model, src, "llama2")
		for _, pack := range []string{"concat", "cut", "pad"} {
			train := func(data string) (string, string) {
				out := t.TempDir()
				run(t, "--model="+model, "--data="+data, "--out="+out, "--ctx=64", "--group-size=16", "--pack="+pack, "--template=llama2", "--overlong=truncate",
					"--steps=2", "--batch=2", "--accum=2", "--lr=0.01", "--warmup-steps=0", "--tile=48")
				var losses string
				for _, m := range metrics(t, out) {
					losses += fmt.Sprintf("%x %x %d; ", math.Float64bits(m.Loss), math.Float64bits(m.GradNorm), m.Tokens)
				}
				return losses, written(t, out, 2)["adapter_model.safetensors"]
			}
			lossA, a := train(src)
			lossB, b := train(bin)
			if lossA != lossB || a != b {
				t.Errorf("%s %s: losses %s, prepared %s; same adapter: %v", name, pack, lossA, lossB, a == b)
			}
		}
	}
}

// Documents give the same loss and gradients whether they share a row, are padded in one batch, or stand alone. The
// first moments after one step are the gradients times 1 − beta1.
func TestPackingChangesNothing(t *testing.T) {
	for name, model := range map[string]string{"gqa-llama3": withTokenizer(t, "gqa-llama3"), "odd-heads-yarn": withTokenizer(t, "odd-heads-yarn"),
		"gqa-llama3, windows": windowed(t, "gqa-llama3", 9)} {
		reference, _, _ := strings.Cut(name, ",")
		for kind, content := range map[string]string{
			"text": "{\"text\":\"the first of the documents, and a long one\"}\n{\"text\":\"short\"}\n{\"text\":\"and another one is in the middle\"}\n{\"text\":\"x\"}\n",
			"chat": "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"oh, the otter\"}]}\n" +
				"{\"messages\":[{\"role\":\"user\",\"content\":\"the longer question of the two\"},{\"role\":\"assistant\",\"content\":\"no\"}]}\n" +
				"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}\n",
		} {
			src := testkit.Temp(t, kind+".jsonl", content)
			rows := strings.Count(content, "\n")
			for _, attn := range [][]string{{"--attn=s2", "--group-size=16"}, {"--attn=full"}} {
				step := func(more ...string) (float64, int64, map[string][]float32) {
					out := t.TempDir()
					args := append(append([]string{"--model=" + model, "--data=" + src, "--out=" + out, "--ctx=128", "--template=mistral", "--shuffle=false", "--steps=1",
						"--adapter=" + filepath.Join(goldenDir, reference, "adapter-init"), "--warmup-steps=0", "--max-grad-norm=0"}, attn...), more...)
					run(t, args...)
					m := metrics(t, out)[0]
					return m.Loss, m.Tokens, testkit.Floats(t, filepath.Join(out, "checkpoints", "step-000001", "optimizer.safetensors"))
				}
				loss, tokens, want := step("--pack=pad", "--batch=1", fmt.Sprint("--accum=", rows))
				for what, args := range map[string][]string{
					"padded, tiled": {"--pack=pad", fmt.Sprint("--batch=", rows), "--accum=1", "--tile=21"},
					"cut":           {"--pack=cut", "--batch=1", "--accum=1"},
					"cut, in tiles": {"--pack=cut", "--batch=1", "--accum=1", "--tile=13"},
				} {
					l, n, got := step(args...)
					if d := math.Abs(l-loss) / loss; !(d <= 1e-6) || n != tokens {
						t.Errorf("%s %s %v: %s: loss %v of %d tokens, alone %v of %d", name, kind, attn, what, l, n, loss, tokens)
					}
					for k, w := range want {
						if strings.HasPrefix(k, "m.") && testkit.Relative(got[k], w) > 1e-6 {
							t.Errorf("%s %s %v: %s: %s is off by %g", name, kind, attn, what, k, testkit.Relative(got[k], w))
						}
					}
				}
			}
		}
	}
}

// What is scored, dropped, shortened and filled is said before step 1, and the first row is shown with its marks.
func TestFactsOfExamples(t *testing.T) {
	model := withTokenizer(t, "mha-linear")
	src := testkit.Temp(t, "a.jsonl", "{\"instruction\":\"q\",\"output\":\"one\"}\n{\"instruction\":\"r\",\"output\":\"two\"}\n{\"instruction\":\""+strings.Repeat("long ", 60)+"\",\"output\":\"b\"}\nnonsense\n")
	args := []string{"--model=" + model, "--data=" + src, "--out=" + t.TempDir(), "--ctx=128", "--group-size=16", "--template=longalpaca", "--steps=1", "--accum=1", "--shuffle=false", "--skip-bad"}
	_, log := run(t, args...)
	for _, w := range []string{"packed by cut", "filled      19.5 %", "dropped     1 example ", "skipped     1 malformed document\n", "alpaca examples by the template longalpaca"} {
		if !strings.Contains(log, w) {
			t.Errorf("%q is not said in\n%s", w, log)
		}
	}
	_, log = run(t, append(args, "--dry-run")...)
	if w := "<s>[INST]q[/INST]⟦one</s>⟧┃<s>[INST]r[/INST]⟦two</s>⟧"; !strings.Contains(log, w) {
		t.Errorf("the first row is not shown as %s in\n%s", w, log)
	}
	_, log = run(t, append(args, "--overlong=truncate", "--out="+t.TempDir())...)
	if !strings.Contains(log, "truncated   1 example ") {
		t.Errorf("no word of the shortened example in\n%s", log)
	}
	if err := runError(t, append(args, "--shift=roll", "--ctx=64")...); errs.Code(err) != 2 || !strings.Contains(err.Error(), "roll") {
		t.Errorf("roll over cut rows: %v", err)
	}
}

// A validation loss is the mean over scored tokens: without learning it is the loss of a step over the same rows.
func TestValidationLoss(t *testing.T) {
	src, out := testkit.Temp(t, "a.jsonl", documents["alpaca"]), t.TempDir()
	run(t, "--model="+withTokenizer(t, "mha-linear"), "--data="+src, "--eval-data="+src, "--out="+out, "--ctx=128", "--group-size=16",
		"--template=longalpaca", "--pack=pad", "--shuffle=false", "--steps=1", "--accum=5", "--batch=3", "--lr=0", "--eval-every=1", "--eval-attn=s2")
	if m := metrics(t, out)[0]; m.EvalLoss == nil || !(math.Abs(*m.EvalLoss-m.Loss) < 1e-6) {
		t.Errorf("%+v", m)
	}
}

// Validation rows are held out from the rows' end, and --eval-data is packed as the training data is.
func TestValidationOfExamples(t *testing.T) {
	model := withTokenizer(t, "mha-linear")
	src := testkit.Temp(t, "a.jsonl", documents["alpaca"])
	base := []string{"--model=" + model, "--data=" + src, "--ctx=128", "--group-size=16", "--template=longalpaca", "--pack=pad", "--steps=2", "--accum=1", "--eval-every=1", "--eval-attn=s2,full"}
	for _, more := range [][]string{{"--eval-fraction=0.2"}, {"--eval-data=" + src}} {
		out := t.TempDir()
		_, log := run(t, append(append(base, "--out="+out), more...)...)
		for _, m := range metrics(t, out) {
			if m.EvalSparse == nil || m.EvalFull == nil || !(*m.EvalSparse > 0) {
				t.Errorf("%v: step %d has no validation: %+v", more, m.Step, m)
			}
		}
		if want := map[bool]string{true: "3 rows", false: "15 rows"}[more[0] == "--eval-fraction=0.2"]; !strings.Contains(log, "validation  "+want) {
			t.Errorf("%v: not %s in\n%s", more, want, log)
		}
	}
}
