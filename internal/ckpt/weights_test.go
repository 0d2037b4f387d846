package ckpt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 26973\n"

// An index that names what no shard holds, or misses what one does, or whose shards lie in a folder, gives the tensors
// that the shards hold; of two files with one tensor the later counts, and that is said.
func TestIndexes(t *testing.T) {
	three := func(dir string, where [3]string) {
		for i, n := range []string{"a", "b", "c"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(where[i])), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := WriteSafetensors(filepath.Join(dir, where[i]), []Out{sample(n, tensor.F32, 4)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := [3]string{"1.safetensors", "2.safetensors", "3.safetensors"}
	for name, c := range map[string]struct {
		where [3]string
		index string
		notes string
	}{
		"whole":           {files, `{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"}`, ""},
		"stale":           {files, `{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","model.layers.0.self_attn.rotary_emb.inv_freq":"1.safetensors"}`, ""},
		"wrong":           {files, `{"a":"3.safetensors","b":"2.safetensors","c":"1.safetensors"}`, ""},
		"short":           {files, `{"x":"1.safetensors","y":"2.safetensors","z":"3.safetensors"}`, ""},
		"in a folder":     {[3]string{"w/1.safetensors", "w/2.safetensors", "w/v/3.safetensors"}, `{"a":"w/1.safetensors","b":"./w/2.safetensors","c":"w/v/../v/3.safetensors"}`, ""},
		"of later floats": {files, `{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"4.safetensors"}`, "4.safetensors: tensor a, among others perhaps, lies in an earlier file with other values"},
		"of equal twins":  {files, `{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"5.safetensors"}`, ""},
	} {
		dir := configWith(t, nil)
		three(dir, c.where)
		other := Bytes("a", tensor.F32, tensor.Shape{4}, bytes.Repeat([]byte{1}, 16))
		for f, o := range map[string]Out{"4.safetensors": other, "5.safetensors": sample("a", tensor.F32, 4)} {
			if err := WriteSafetensors(filepath.Join(dir, f), []Out{o}); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Write(t, filepath.Join(dir, indexFile), `{"weight_map":`+c.index+`}`)
		m, err := OpenModel(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(m.Tensors) != 3 || !strings.Contains(strings.Join(m.Notes, "\n"), c.notes) || c.notes == "" && len(m.Notes) > 0 {
			t.Errorf("%s: tensors %v, notes %q", name, m.Tensors, m.Notes)
		}
		if got := m.Tensors["a"].Data(); bytes.Equal(got, bytes.Repeat([]byte{1}, 16)) != (c.notes != "") {
			t.Errorf("%s: a is %v", name, got)
		}
		m.Close()
	}
	for _, index := range []string{`{"a":"../a.safetensors"}`, `{"a":"/a.safetensors"}`, `{"a":"w/../../a.safetensors"}`, `{"a":""}`, `{"a":"w/"}`} {
		dir := configWith(t, nil)
		testkit.Write(t, filepath.Join(dir, indexFile), `{"weight_map":`+index+`}`)
		if _, err := OpenModel(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), "is not a file in this folder") {
			t.Errorf("%s: %v", index, err)
		}
	}
}

// Buffers of old checkpoints are passed over; any other tensor that is none of the model's is named, and quantised ones
// are known by their names and types.
func TestUnknownTensors(t *testing.T) {
	for name, want := range map[string]string{
		"model.layers.0.self_attn.rotary_emb.inv_freq":                    "",
		"model.layers.0.self_attn.rotary_emb.cos_cached":                  "",
		"model.rotary_emb.sin_cached":                                     "",
		"gpt_neox.layers.0.attention.bias":                                "",
		"gpt_neox.layers.0.attention.masked_bias":                         "",
		"model.layers.0.self_attn.q_proj.bias":                            "has no place in",
		"model.layers.9.self_attn.q_proj.weight":                          "has no place in",
		"base_model.model.model.layers.0.self_attn.q_proj.lora_A":         "has no place in",
		"model.layers.0.self_attn.q_proj.qweight":                         "quantised by gptq, awq",
		"model.layers.0.self_attn.q_proj.SCB":                             "quantised by bitsandbytes (8 bits)",
		"model.layers.0.self_attn.q_proj.weight.absmax":                   "quantised by bitsandbytes (4 bits)",
		"model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4": "quantised by bitsandbytes (4 bits)",
		"model.layers.0.mlp.up_proj.weight_scale_inv":                     "quantised by fp8",
		"model.layers.0.mlp.up_proj.weight_packed":                        "quantised by compressed-tensors",
	} {
		m := &Model{Config: &Config{Desc: model.Desc{Arch: &model.Llama}}, Tensors: map[string]Tensor{"w": {Shape: tensor.Shape{}}, name: {File: "x.safetensors"}}}
		err := m.Check(map[string]tensor.Shape{"w": {}})
		if want == "" && err != nil || want != "" && (errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.safetensors: tensor "+name)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// What stands in a model's place, or in a file's of it, is named, with what to do.
func TestNoModel(t *testing.T) {
	whole := func() string { return configWith(t, nil) }
	empty := func() string { return t.TempDir() }
	for what, c := range map[string]struct {
		dir  string
		make func(dir string)
		name string // under dir, what is given
		want string
	}{
		"a GGUF file":               {empty(), func(d string) { testkit.Write(t, d+"/m.gguf", "GGUF....") }, "m.gguf", "a GGUF file"},
		"a GGUF file by its bytes":  {empty(), func(d string) { testkit.Write(t, d+"/m.bin", "GGUF....") }, "m.bin", "a GGUF file"},
		"a folder of it":            {empty(), func(d string) { testkit.Write(t, d+"/m.gguf", "GGUF....") }, "", "m.gguf: a GGUF file"},
		"a folder of it and config": {whole(), func(d string) { testkit.Write(t, d+"/m.gguf", "GGUF....") }, "", "m.gguf: a GGUF file"},
		"GGUF as safetensors":       {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors", "GGUF....") }, "", "model.safetensors: a GGUF file"},
		"a weight file":             {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors", "x") }, "model.safetensors", "give the folder: --model "},
		"config.json":               {whole(), func(d string) {}, "config.json", "give the folder: --model "},
		"an adapter":                {empty(), func(d string) { testkit.Write(t, d+"/adapter_config.json", "{}") }, "", "give it as --adapter"},
		"a cache's folder":          {empty(), func(d string) { testkit.Write(t, d+"/snapshots/abc/config.json", llama) }, "", "/snapshots/abc"},
		"Meta's form":               {empty(), func(d string) { testkit.Write(t, d+"/consolidated.00.pth", "x") }, "", "consolidated.00.pth: weights in the form of their makers"},
		"another name":              {whole(), func(d string) { testkit.Write(t, d+"/llama.safetensors", "x") }, "", "if llama.safetensors is the whole model"},
		"nothing":                   {whole(), func(d string) {}, "", "no weights: none of model.safetensors"},
		"no config":                 {empty(), func(d string) {}, "", "is "},
		"a pointer for weights":     {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors", lfs) }, "", "model.safetensors: a git-lfs pointer"},
		"a pointer for a .bin":      {whole(), func(d string) { testkit.Write(t, d+"/pytorch_model.bin", lfs) }, "", "pytorch_model.bin: a git-lfs pointer"},
		"a pointer for an index":    {whole(), func(d string) { testkit.Write(t, d+"/"+indexFile, lfs) }, "", indexFile + ": a git-lfs pointer"},
		"a pointer for config":      {empty(), func(d string) { testkit.Write(t, d+"/config.json", lfs) }, "", "config.json: a git-lfs pointer"},
		"a pointer for a shard": {whole(), func(d string) {
			testkit.Write(t, d+"/"+indexFile, `{"weight_map":{"a":"1.safetensors"}}`)
			testkit.Write(t, d+"/1.safetensors", lfs)
		}, "", "1.safetensors: a git-lfs pointer"},
		"a pointer as the model": {empty(), func(d string) { testkit.Write(t, d+"/m", lfs) }, "m", "m: a git-lfs pointer"},
		"a web page for weights": {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors", "<!DOCTYPE html><html>") }, "", "it is a web page"},
		"a web page for a .bin":  {whole(), func(d string) { testkit.Write(t, d+"/pytorch_model.bin", "\n<html>") }, "", "it is a web page"},
		"a zip as safetensors":   {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors", string(zipped(t, "", nil))) }, "", "whose name ends in .bin"},
		"safetensors as a .bin":  {whole(), func(d string) { testkit.Write(t, d+"/pytorch_model.bin", string(file("{}", 0))+"x") }, "", "whose name ends in .safetensors"},
		"a cut zip":              {whole(), func(d string) { testkit.Write(t, d+"/pytorch_model.bin", string(zipped(t, "", nil)[:60])) }, "", "cut off or damaged; fetch it again, or convert it to safetensors"},
		"a pipe for weights": {whole(), func(d string) {
			if err := unix.Mkfifo(d+"/model.safetensors", 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", "model.safetensors: a pipe"},
		"a pipe for config": {empty(), func(d string) {
			if err := unix.Mkfifo(d+"/config.json", 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", "config.json: a pipe"},
		"a folder for weights":    {whole(), func(d string) { testkit.Write(t, d+"/model.safetensors/x", "") }, "", "model.safetensors: a folder"},
		"a device for weights":    {whole(), func(d string) { testkit.Link(t, "/dev/zero", d+"/pytorch_model.bin") }, "", "pytorch_model.bin: a device"},
		"a link to nothing":       {whole(), func(d string) { testkit.Link(t, "../blobs/x", d+"/model.safetensors") }, "", "model.safetensors: a link to ../blobs/x"},
		"config.json of an array": {empty(), func(d string) { testkit.Write(t, d+"/config.json", "[]") }, "", "config.json: array where an object is wanted"},
		"a long config.json":      {empty(), func(d string) { testkit.Write(t, d+"/config.json", "["+strings.Repeat("0,", 3<<20)+"0]") }, "", "more than such a file has"},
		"an index of numbers":     {whole(), func(d string) { testkit.Write(t, d+"/"+indexFile, `{"weight_map":{"a":1}}`) }, "", "weight_map: number where something else is wanted"},
	} {
		c.make(c.dir)
		_, err := OpenModel(filepath.Join(c.dir, c.name))
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: %v, want exit code 4, the path and %q", what, err, c.want)
		}
	}
}

// What a snapshot of a cache lacks has not been downloaded yet: the command that completes it is said, with the revision
// where that is not main's.
func TestHalfADownload(t *testing.T) {
	config := func(d string) { testkit.Write(t, d+"/config.json", llama) }
	for what, make := range map[string]func(dir string){
		"no config":  func(d string) { testkit.Write(t, d+"/tokenizer.json", "{}") },
		"no weights": config,
		"no shard": func(d string) {
			config(d)
			testkit.Write(t, d+"/"+indexFile, `{"weight_map":{"a":"1.safetensors"}}`)
		},
		"no blob": func(d string) {
			config(d)
			testkit.Link(t, "../../blobs/x", d+"/model.safetensors")
		},
	} {
		for ref, want := range map[string]string{"abc": "complete it with: hf download org/name", "other": "hf download org/name --revision abc"} {
			root := filepath.Join(t.TempDir(), "models--org--name")
			testkit.Write(t, filepath.Join(root, "refs", "main"), ref+"\n")
			dir := filepath.Join(root, "snapshots", "abc")
			make(dir)
			if _, err := OpenModel(dir); errs.Code(err) != 4 || !strings.HasSuffix(err.Error(), want) || !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("%s: %v, want the folder and %q", what, err, want)
			}
		}
	}
}

// Quantised checkpoints are known by their config.json, however it spells that.
func TestQuantisedConfigs(t *testing.T) {
	for method, change := range map[string]change{
		"gptq (4 bits)":      {"quantization_config": change{"quant_method": "gptq", "bits": 4, "group_size": 128}},
		"awq (4 bits)":       {"quantization_config": change{"quant_method": "awq", "bits": 4, "version": "gemm"}},
		"bitsandbytes fp4":   {"quantization_config": change{"load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}},
		"bitsandbytes (8":    {"quantization_config": change{"quant_method": "bitsandbytes", "load_in_8bit": true, "load_in_4bit": false}},
		"fp8":                {"quantization_config": change{"quant_method": "fp8", "weight_block_size": []int{128, 128}}},
		"compressed-tensors": {"compression_config": change{"quant_method": "compressed-tensors"}},
		"MLX (4 bits)":       {"quantization": change{"group_size": 64, "bits": 4}},
		"gptq or a method":   {"quantization_config": change{"bits": 4, "group_size": 128}},
		"":                   {"quantization_config": change{}},
	} {
		dir := configWith(t, change)
		if method != "" {
			method = " by " + method
		}
		if _, err := ReadConfig(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), "config.json: ") || !strings.Contains(err.Error(), "quantised"+method) ||
			!strings.Contains(err.Error(), "16-bit checkpoint") {
			t.Errorf("%v: %v", change, err)
		}
	}
}

// A weight of a type of few bits says so; a head that is missing tells of tying.
func TestGetSays(t *testing.T) {
	m := &Model{Dir: "m", Config: &Config{}, Files: []string{"m/model.safetensors"}, Tensors: map[string]Tensor{"q": {File: "m/model.safetensors", foreign: "F8_E4M3"}, embedName: {},
		"module.model.norm.weight": {}, "layers.0.mlp.up_proj.weight": {}}}
	for name, want := range map[string]string{"q": "is of type F8_E4M3: the weights are quantised", headName: "set tie_word_embeddings to true", "x": "tensor x is missing",
		"model.norm.weight": "it holds module.model.norm.weight in its place", "model.layers.0.mlp.up_proj.weight": "it holds layers.0.mlp.up_proj.weight in its place"} {
		if _, err := m.Get(name, tensor.Shape{1}); errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Indexes that are not what they should be end in an error or in tensors that are all there.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":48},"weight_map":{"a":"model-00001-of-00003.safetensors","b":"w/../model-00002-of-00003.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x","b":null}}`))
	dir := f.TempDir()
	for _, n := range []string{"a", "b"} {
		if err := WriteSafetensors(filepath.Join(dir, "model-0000"+map[string]string{"a": "1", "b": "2"}[n]+"-of-00003.safetensors"), []Out{sample(n, tensor.F32, 4)}); err != nil {
			f.Fatal(err)
		}
	}
	path := filepath.Join(dir, indexFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		testkit.Write(t, path, b)
		m := &Model{Dir: dir, Tensors: map[string]Tensor{}}
		defer m.Close()
		if err := m.openIndex(path); err != nil {
			if errs.Code(err) != 4 {
				t.Errorf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		for n, x := range m.Tensors {
			if len(x.Data()) != 16 || !strings.HasPrefix(x.File, dir) {
				t.Errorf("%s: %d bytes in %s", n, len(x.Data()), x.File)
			}
		}
	})
}
