package lora_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

const golden = "../../testdata/golden/"

func merge(t *testing.T, model, adapter string, change func(*lora.MergeOptions)) (string, lora.Merged, error) {
	t.Helper()
	b, err := load.Open(model, adapter)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	o := lora.MergeOptions{Base: b.Weights, Desc: b.Desc(), Adapter: b.Adapter, Scale: 1, Positions: b.Positions, Out: filepath.Join(t.TempDir(), "merged"), ShardSize: 1 << 30}
	if change != nil {
		change(&o)
	}
	res, err := lora.Merge(t.Context(), o)
	return o.Out, res, err
}

func tensors(t *testing.T, dir string) map[string]ckpt.Tensor {
	t.Helper()
	m, err := ckpt.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m.Tensors
}

// The merge equals PEFT's of the same adapter, from both of its forms, in one file or many, to the rounding of
// one product of rank 4 in float32.
func TestMergeAsPEFT(t *testing.T) {
	for _, c := range []string{"mha-linear", "gqa-llama3"} {
		want := tensors(t, golden+c+"/merged")
		for _, form := range []string{"adapter-trained", "adapter-longlora"} {
			for _, shard := range []int64{1 << 30, 100_000} {
				out, res, err := merge(t, golden+c+"/model", golden+c+"/"+form, func(o *lora.MergeOptions) { o.ShardSize = shard })
				if err != nil {
					t.Fatal(err)
				}
				got := tensors(t, out)
				if len(got) != len(want) || res.Tensors != len(want) || res.Changed == 0 || len(res.Same) != 0 {
					t.Errorf("%s %s: %d tensors, want %d; %+v", c, form, len(got), len(want), res)
				}
				for name, w := range want {
					a, b := got[name].Floats(), w.Floats()
					d, n := 0.0, 0.0
					for i := range b {
						d += math.Pow(float64(a[i])-float64(b[i]), 2)
						n += float64(b[i]) * float64(b[i])
					}
					if !(math.Sqrt(d/n) <= 1e-6) {
						t.Errorf("%s %s: %s differs by %.1e", c, form, name, math.Sqrt(d/n))
					}
				}
			}
		}
	}
}

// Biases are the base's.
func TestMergeCarriesBiases(t *testing.T) {
	const c = golden + "families/llama-bias"
	out, res, err := merge(t, c+"/model", c+"/adapter-trained", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, base := tensors(t, out), tensors(t, c+"/model")
	if len(got) != len(base) || res.Changed == 0 {
		t.Errorf("%d tensors, the base has %d; %+v", len(got), len(base), res)
	}
	biases := 0
	for name, b := range base {
		if strings.HasSuffix(name, ".bias") {
			biases++
			if !ckpt.Equal(got[name], b) {
				t.Errorf("%s is not the base's", name)
			}
		}
	}
	if biases != 8 {
		t.Errorf("the base has %d biases, want 4 a layer", biases)
	}
}

// A quantised base is merged as it was trained: its matrices' values plus the factors' change, in the type of config.json,
// which then says nothing of codes.
func TestMergeQuantised(t *testing.T) {
	for _, c := range []string{golden + "families/nf4-double", golden + "families/nf4-plain"} {
		m, err := ckpt.OpenModel(c + "/model")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		out, _, err := merge(t, c+"/model", c+"/adapter-trained", nil)
		if err != nil {
			t.Fatal(err)
		}
		got, adapter := tensors(t, out), c+"/adapter-trained/adapter_model.safetensors"
		file, err := ckpt.OpenSafetensors(adapter)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		a := file.Tensors
		for name, base := range m.Tensors {
			module, matrix := strings.CutSuffix(name, "_proj.weight")
			if !matrix {
				continue
			}
			p := "base_model.model." + module + "_proj.lora_"
			fa, fb, want := a[p+"A.weight"].Floats(), a[p+"B.weight"].Floats(), base.Floats()
			in := base.Shape[1]
			for o := range base.Shape[0] {
				for i := range in {
					sum := 0.0
					for r := range 4 {
						sum += float64(fb[o*4+r]) * float64(fa[r*in+i])
					}
					want[o*in+i] += float32(2 * sum)
				}
			}
			if y := got[name]; y.DType != tensor.BF16 || !(testkit.Relative(y.Floats(), want) < 1.0/256) {
				t.Errorf("%s: %s is %s, off by %g", c, name, y.DType, testkit.Relative(y.Floats(), want))
			}
		}
		if cfg, err := ckpt.ReadConfig(out); err != nil || cfg.Raw["quantization_config"] != nil {
			t.Errorf("%s: quantization_config %v, %v", c, cfg.Raw["quantization_config"], err)
		}
	}
}

func TestMergeTypes(t *testing.T) {
	full := tensors(t, golden+"mha-linear/merged")
	for d, name := range map[tensor.DType]string{tensor.BF16: "bfloat16", tensor.F16: "float16"} {
		out, _, err := merge(t, golden+"mha-linear/model", golden+"mha-linear/adapter-trained", func(o *lora.MergeOptions) { o.DType = &d })
		if err != nil {
			t.Fatal(err)
		}
		c, err := ckpt.ReadConfig(out)
		if err != nil || c.DType != d || c.Raw["torch_dtype"] != name {
			t.Errorf("config.json says %v, %v; want %s", c.Raw["torch_dtype"], err, name)
		}
		eps := map[tensor.DType]float64{tensor.BF16: 1.0 / 256, tensor.F16: 1.0 / 2048}[d]
		for n, x := range tensors(t, out) {
			a, b := x.Floats(), full[n].Floats()
			for i := range a {
				if x.DType != d || math.Abs(float64(a[i]-b[i])) > eps*math.Abs(float64(b[i]))+1e-6 {
					t.Fatalf("%s: element %d of %s is %v, want %v", d, i, n, a[i], b[i])
				}
			}
		}
	}
}

// copyModel copies a model's folder so that a test can spoil a tensor of it.
func copyModel(t *testing.T, spoil func(name string, v []float32)) string {
	t.Helper()
	dir := t.TempDir()
	if err := files.CopyFile(filepath.Join(dir, "config.json"), golden+"mha-linear/model/config.json"); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(dir, "notes.txt"), "foreign")
	var outs []ckpt.Out
	for n, x := range tensors(t, golden+"mha-linear/model") {
		v := x.Floats()
		spoil(n, v)
		outs = append(outs, ckpt.FromFloats(n, x.Shape, v).Out())
	}
	if err := ckpt.WriteSafetensors(filepath.Join(dir, "model.safetensors"), outs); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMergeRefuses(t *testing.T) {
	const adapter = golden + "mha-linear/adapter-trained"
	for _, c := range []struct {
		what  string
		value float32
		tail  func(*lora.MergeOptions)
	}{
		{"NaN", float32(math.NaN()), nil},
		{"Inf", float32(math.Inf(1)), nil},
		{"too large for a half", 1e6, func(o *lora.MergeOptions) { d := tensor.F16; o.DType = &d }},
	} {
		dir := copyModel(t, func(n string, v []float32) {
			if n == "model.layers.1.mlp.up_proj.weight" {
				v[5] = c.value
			}
		})
		out, _, err := merge(t, dir, adapter, c.tail)
		if errs.Code(err) != 5 || !strings.Contains(err.Error(), "element 5 of tensor model.layers.1.mlp.up_proj.weight") {
			t.Errorf("%s: %v, want exit code 5 naming the element", c.what, err)
		}
		if list, _ := os.ReadDir(filepath.Dir(out)); len(list) != 0 {
			t.Errorf("%s: left %v", c.what, list)
		}
	}
	dir := copyModel(t, func(string, []float32) {})
	out, _, err := merge(t, dir, adapter, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, "notes.txt")); err == nil {
		t.Error("a foreign file was carried over")
	}
	if _, _, err := merge(t, dir, adapter, func(o *lora.MergeOptions) { o.Out = dir }); errs.Code(err) != 2 {
		t.Errorf("--out that is not empty: %v, want exit code 2", err)
	}
}

// A link to an empty folder is filled where it leads; one to nothing is refused, and so is a base whose files to carry
// over are links out of it, before anything is written.
func TestMergeAndLinks(t *testing.T) {
	const c = golden + "mha-linear/"
	dir := t.TempDir()
	target, link := filepath.Join(dir, "disk", "empty"), filepath.Join(dir, "link")
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("disk/empty", link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := merge(t, c+"model", c+"adapter-trained", func(o *lora.MergeOptions) { o.Out = link }); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "disk/empty" {
		t.Errorf("the link leads to %q now, %v", to, err)
	}
	if got := tensors(t, target); len(got) != 21 {
		t.Errorf("%d tensors in its target", len(got))
	}
	if list, err := os.ReadDir(filepath.Join(dir, "disk")); err != nil || len(list) != 1 {
		t.Errorf("beside the target: %v, %v", list, err)
	}
	if _, _, err := merge(t, c+"model", c+"adapter-trained", func(o *lora.MergeOptions) { o.Out = link }); errs.Code(err) != 2 {
		t.Errorf("once more: %v", err)
	}
	nowhere := filepath.Join(dir, "nowhere")
	if err := os.Symlink("gone", nowhere); err != nil {
		t.Fatal(err)
	}
	if _, _, err := merge(t, c+"model", c+"adapter-trained", func(o *lora.MergeOptions) { o.Out = nowhere }); errs.Code(err) != 2 || !strings.Contains(err.Error(), "a link to gone, which is not there") {
		t.Errorf("a link to nothing: %v", err)
	}
	base := filepath.Join(dir, "base")
	if err := os.CopyFS(base, os.DirFS(c+"model")); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(dir, "secret"), "secret")
	if err := os.Symlink("../secret", filepath.Join(base, "chat_template.jinja")); err != nil {
		t.Fatal(err)
	}
	out, _, err := merge(t, base, c+"adapter-trained", nil)
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "chat_template.jinja: a link out of the model's folder") {
		t.Errorf("a link out of the base: %v", err)
	}
	if _, err := os.Lstat(out); err == nil {
		t.Error("a merge that was refused wrote something")
	}
}

// With a scale, factors count by it, and what was saved whole lies so far from the base: W + S·scale·B·A and
// base + S·(trained − base). 0 is the base to the bit.
func TestMergeScaled(t *testing.T) {
	const cases = "../../testdata/peft/cases/"
	for _, name := range []string{"all-linear", "saved-ends", "head", "tied-both-saved", "tied-embedding"} {
		model := "../../testdata/peft/base"
		if strings.HasPrefix(name, "tied") {
			model = "../../testdata/peft/tied"
		}
		at := func(scale float64) map[string]ckpt.Tensor {
			out, _, err := merge(t, model, cases+name, func(o *lora.MergeOptions) { o.Scale = scale })
			if err != nil {
				t.Fatal(err)
			}
			return tensors(t, out)
		}
		base, zero, whole := tensors(t, model), at(0), at(1)
		if len(zero) != len(base) {
			t.Errorf("%s: scale 0 has %d tensors, the base %d", name, len(zero), len(base))
		}
		for n, b := range base {
			if z := zero[n]; z.Name == "" || !ckpt.Equal(b, z) {
				t.Errorf("%s: scale 0 changes %s", name, n)
			}
		}
		for _, s := range []float64{0.5, -1, 2} {
			for n, x := range at(s) {
				from, ok := base[n]
				if !ok {
					from = base["model.embed_tokens.weight"] // the head of a tied base
				}
				b, w, got := from.Floats(), whole[n].Floats(), x.Floats()
				for i := range got {
					if want := float64(b[i]) + s*(float64(w[i])-float64(b[i])); math.Abs(float64(got[i])-want) > 2e-6 {
						t.Fatalf("%s: scale %v: element %d of %s is %v, want %v", name, s, i, n, got[i], want)
					}
				}
			}
		}
	}
}

// Of several merges into one folder at most one writes it at a time, and whichever succeeds leaves all of it.
func TestMergesIntoOneFolder(t *testing.T) {
	const dir = golden + "mha-linear"
	shards := func(o *lora.MergeOptions) { o.ShardSize = 50_000 }
	want, _, err := merge(t, dir+"/model", dir+"/adapter-trained", shards)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		out := filepath.Join(t.TempDir(), "merged")
		const n = 4
		done := make(chan error, n)
		for range n {
			b, err := load.Open(dir+"/model", dir+"/adapter-trained") // each has files of its own, as processes do
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(b.Close)
			go func() {
				o := lora.MergeOptions{Base: b.Weights, Desc: b.Desc(), Adapter: b.Adapter, Positions: b.Positions, Out: out, Scale: 1}
				shards(&o)
				_, err := lora.Merge(t.Context(), o)
				done <- err
			}()
		}
		succeeded := 0
		for range n {
			err := <-done
			if err == nil {
				succeeded++
			} else if errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), out) && !strings.Contains(err.Error(), "another merge") {
				t.Errorf("exit %d: %v", errs.Code(err), err)
			}
		}
		if succeeded != 1 {
			t.Errorf("%d merges succeeded", succeeded)
		}
		if a, b := entries(t, filepath.Dir(out)), entries(t, filepath.Dir(want)); a != b {
			t.Errorf("beside the merged folder: %s, want %s", a, b)
		}
		if a, b := entries(t, out), entries(t, want); a != b {
			t.Errorf("merged %s, want %s", a, b)
		}
	}
}

func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
