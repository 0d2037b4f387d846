package ckpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
	"longlora/internal/rundir"
)

// What is not read, wherever it lies, is recognised here, and what to do about it said.

const ggufMagic = "GGUF"

func ggufError(path string) error {
	return errs.Dataf("%s: a GGUF file, llama.cpp's format, which is not read; give the folder of the Hugging Face "+
		"checkpoint that it was made from (or make one of it with transformers: "+
		"AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=NAME).save_pretrained(NEW), and the same with AutoTokenizer)",
		path)
}

// quantisedError says that weights lie in fewer bits, and by which method where that is known.
func quantisedError(path, where, method string) error {
	if method != "" {
		method = " by " + method
	}
	return errs.Dataf("%s: %s: the weights are quantised%s, which is not read (of such ones bitsandbytes NF4 is); give "+
		"the 16-bit checkpoint that they were made from (most often the same name without the suffix)", path, where, method)
}

// quantisedConfig finds out from config.json whether and how weights are quantised that are not read. Which ones are
// NF4 the weights themselves say.
func quantisedConfig(raw map[string]any) (field, method string) {
	for _, field := range []string{"quantization_config", "compression_config", "quantization"} { // the last is MLX's
		v := raw[field]
		if v == nil {
			continue
		}
		q, _ := v.(map[string]any)
		name, _ := q["quant_method"].(string)
		if name == "" && (q["load_in_4bit"] != nil || q["load_in_8bit"] != nil) {
			name = "bitsandbytes"
		}
		kind, _ := q["bnb_4bit_quant_type"].(string)
		switch {
		case name == "bitsandbytes" && q["load_in_4bit"] == true && kind == "nf4":
			continue
		case name == "bitsandbytes" && q["load_in_8bit"] == false && q["load_in_4bit"] == false: // quantises nothing
			continue
		case name == "bitsandbytes" && q["load_in_4bit"] == true:
			name += " fp4" // transformers' own when nothing is said
		case name == "bitsandbytes":
			name += " (8 bits)"
		case name != "":
		case field == "quantization":
			name = "MLX"
		case q["group_size"] != nil:
			name = "gptq or a method like it"
		}
		if bits := q["bits"]; bits != nil && name != "" {
			name += fmt.Sprintf(" (%s bits)", errs.Shown(bits))
		}
		return field, name
	}
	return "", ""
}

// quantisedNames are the ends of tensors' names that methods of quantisation write beside or for a weight.
var quantisedNames = []struct{ end, method string }{
	{".qweight", "gptq, awq or a method like them"}, {".qzeros", "gptq, awq or a method like them"}, {".g_idx", "gptq"},
	{".SCB", "bitsandbytes (8 bits)"}, {".weight_format", "bitsandbytes (8 bits)"}, {".absmax", "bitsandbytes (4 bits)"},
	{".quant_map", "bitsandbytes (4 bits)"}, {".quant_state", "bitsandbytes (4 bits)"}, {".nested_absmax",
		"bitsandbytes (4 bits)"},
	{".weight_scale", "fp8 or a method like it"}, {".weight_scale_inv", "fp8"}, {".input_scale", "fp8"}, {".weight_packed",
		"compressed-tensors"},
	{".weight_zero_point", "compressed-tensors"}, {".q_weight", "exl2"}, {".trellis", "exl3"}, {".W_q", "hqq"},
	{".codebooks", "aqlm"},
	{".scales", "a method of few bits"}, {"_blocks", "mxfp4"},
}

// quantisedName is the method that a tensor's name tells of, "" for none.
func quantisedName(name string) string {
	for _, q := range quantisedNames {
		if strings.HasSuffix(name, q.end) || strings.Contains(name, q.end+".") {
			return q.method
		}
	}
	return ""
}

// mend is what to do about a file that is not what its name says, going by its first bytes; or what is given.
func mend(path string, b []byte, otherwise string) string {
	named := strings.HasSuffix(path, ".safetensors")
	start := bytes.ToLower(bytes.TrimSpace(b[:min(len(b), 64)]))
	switch {
	case bytes.HasPrefix(start, []byte("<!doctype")) || bytes.HasPrefix(start, []byte("<html")):
		return "it is a web page: a download that needed a login, or an address of the page about the file; fetch it with " +
			"hf download"
	case named && bytes.HasPrefix(b, []byte("PK\x03\x04")):
		return otherwise + " (it begins as a zip does, so as a PyTorch file, whose name ends in .bin)"
	case !named && len(b) > 9 && binary.LittleEndian.Uint64(b) <= maxHeader && b[8] == '{':
		return otherwise + " (it begins as a safetensors file, whose name ends in .safetensors)"
	}
	return otherwise
}

// fileNotFolder says what to give instead of a file.
func fileNotFolder(path string) error {
	b := make([]byte, 4)
	if f, err := files.Open(path); err != nil {
		return err
	} else {
		_, _ = f.ReadAt(b, 0) // a shorter file is none of those that follow
		f.Close()
	}
	if string(b) == ggufMagic || strings.HasSuffix(path, ".gguf") {
		return ggufError(path)
	}
	return errs.Dataf("%s: a file where a checkpoint's folder is wanted; give the folder: %s %s", path,
		errs.Option("model"), filepath.Dir(path))
}

// first is the first file of a folder that a pattern names, "" for none.
func first(dir, pattern string) string {
	if list := files.Glob(dir, pattern); len(list) > 0 {
		return list[0]
	}
	return ""
}

// instead says what a folder is that is no checkpoint, nil where nothing tells.
func instead(dir string) error {
	if p := first(dir, "*.gguf"); p != "" {
		return ggufError(p)
	}
	if p := first(dir, rundir.MergedDir+"/config.json"); p != "" && first(dir, rundir.ExtensionFile) != "" {
		return errs.Dataf("%s: the folder of an extend; the model that it made: %s %s", dir, errs.Option("model"),
			filepath.Dir(p))
	}
	if list := files.Glob(dir, rundir.CheckpointsDir+"/step-*/config.json"); len(list) > 0 &&
		first(dir, rundir.RecordFile) != "" {
		return errs.Dataf("%s: a training run that has not ended; its last checkpoint, without a tokenizer: %s %s", dir,
			errs.Option("model"), filepath.Dir(list[len(list)-1]))
	}
	if first(dir, rundir.AdapterConfigFile) != "" {
		return errs.Dataf("%s: an adapter, not a model: give it as %s %s, and its base as %s", dir, errs.Option("adapter"),
			dir, errs.Option("model"))
	}
	if p := first(dir, "snapshots/*/config.json"); p != "" {
		return errs.Dataf("%s: the folder of a Hugging Face cache that holds a model's snapshots; give one of them: %s %s",
			dir, errs.Option("model"), filepath.Dir(p))
	}
	if p := first(dir, "consolidated.*"); p != "" {
		return errs.Dataf("%s: weights in the form of their makers, which is not read; download the checkpoint in Hugging "+
			"Face's form, or convert it with transformers' convert_llama_weights_to_hf.py", p)
	}
	return nil
}

// noAdapter says what a folder is that holds no adapter, or how an adapter comes to one.
func noAdapter(dir string) error {
	path := filepath.Join(dir, rundir.AdapterConfigFile)
	if st, err := os.Stat(dir); err != nil {
		if !errors.Is(err, fs.ErrNotExist) || !hub.IsName(dir) {
			return files.Fault(dir, err)
		}
		if cached, err := hub.Snapshot(dir); err == nil {
			return errs.Dataf("%s: no such folder; the local cache has one of this name: %s %s", dir, errs.Option("adapter"),
				cached)
		}
		return errs.Dataf("%s: no such folder; an adapter of this name is downloaded into it with: hf download %s "+
			"--local-dir %s", dir, dir, dir)
	} else if !st.IsDir() {
		return errs.Dataf("%s: a file where an adapter's folder is wanted; give the folder: %s %s", dir,
			errs.Option("adapter"), filepath.Dir(dir))
	}
	if p := first(dir, "*.gguf"); p != "" {
		return ggufError(p)
	}
	if files.Exists(filepath.Join(dir, "config.json")) {
		return errs.Dataf("%s: there is no such file: %s holds a model, not an adapter; give it as %s", path, dir,
			errs.Option("model"))
	}
	if inside := files.Glob(dir, "*/"+rundir.AdapterConfigFile); len(inside) > 0 { // several, or a trainer's checkpoints
		for i, p := range inside {
			inside[i] = filepath.Dir(p)
		}
		return errs.Dataf("%s: there is no such file, but folders in it hold adapters (%s); give one of them: %s %s", path,
			short(inside), errs.Option("adapter"), inside[0])
	}
	return errs.Dataf("%s: there is no such file; is %s the right folder?", path, dir)
}

// noFactors says what lies in an adapter's folder instead of its weights.
func noFactors(dir string) error {
	const none = "neither adapter_model.safetensors nor adapter_model.bin is there"
	if p := first(dir, "adapter_model*.index.json"); p != "" {
		return errs.Dataf("%s: %s, but %s: PEFT does not read an adapter in shards; put the tensors of all into one "+
			"adapter_model.safetensors", dir, none, filepath.Base(p))
	}
	for _, pattern := range []string{"adapter_model*.safetensors", "*.safetensors", "*.bin", "*.pt", "*.pth"} {
		if p := first(dir, pattern); p != "" {
			return errs.Dataf("%s: %s; if %s is the adapter, give it the name", dir, none, filepath.Base(p))
		}
	}
	return errs.Dataf("%s: %s; %s", dir, none, refetch(dir))
}

// refetch says how to get what a folder lacks. In a cache that is most often a download that did not end.
func refetch(dir string) string {
	if command := hub.Download(dir); command != "" {
		return "the download did not end; complete it with: " + command
	}
	return "fetch it again"
}

// noWeights says what lies in a folder instead of the weights.
func noWeights(dir string) error {
	if what := instead(dir); what != nil {
		return what
	}
	for _, pattern := range []string{"*.safetensors", "*.bin", "*.pt", "*.pth"} {
		if p := first(dir, pattern); p != "" {
			return errs.Dataf("%s: no weights under a name that is looked for: %s; if %s is the whole model, rename it to "+
				"model.safetensors or pytorch_model.bin", dir, strings.Join(weightFiles, ", "), filepath.Base(p))
		}
	}
	return errs.Dataf("%s: no weights: none of %s is there; %s", dir, strings.Join(weightFiles, ", "), refetch(dir))
}
