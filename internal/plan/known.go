package plan

import (
	"strings"

	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// known is a model of the Hugging Face hub whose shape is known by its name.
type known struct {
	shape    string
	vocab    int  // rows of the embedding where they are not the shape's
	windowed bool // it has sliding windows, which the shape has not: only without them it is of that shape
}

// hubNames are such models, without what stands for all that are tuned from one: "-Instruct" and the like.
var hubNames = map[string]known{
	"meta-llama/Llama-2-7b": {shape: "llama2-7b"}, "meta-llama/Llama-2-13b": {shape: "llama2-13b"},
	"meta-llama/Llama-2-70b": {shape: "llama2-70b"}, "meta-llama/Meta-Llama-3-8B": {shape: "llama3-8b"},
	"meta-llama/Meta-Llama-3-70B": {shape: "llama3-70b"}, "meta-llama/Llama-3.1-8B": {shape: "llama3-8b"},
	"meta-llama/Llama-3.1-70B": {shape: "llama3-70b"}, "meta-llama/Meta-Llama-3.1-8B": {shape: "llama3-8b"},
	"meta-llama/Meta-Llama-3.1-70B": {shape: "llama3-70b"}, "meta-llama/Llama-3.2-1B": {shape: "llama3.2-1b"},
	"meta-llama/Llama-3.2-3B": {shape: "llama3.2-3b"}, "mistralai/Mistral-7B-v0.3": {shape: "mistral-7b"},
	"mistralai/Mistral-7B-Instruct-v0.3": {shape: "mistral-7b"},
	"mistralai/Mistral-7B-v0.1":          {shape: "mistral-7b", vocab: 32000, windowed: true},
	"Qwen/Qwen2.5-7B":                    {shape: "qwen2.5-7b"}, "Qwen/Qwen3-8B": {shape: "qwen3-8b"},
	"Qwen/Qwen3-8B-Base": {shape: "qwen3-8b"}, "microsoft/phi-4": {shape: "phi-4"},
	"microsoft/Phi-3-mini-4k-instruct": {shape: "phi-3-mini", windowed: true},
	"google/gemma-2-9b":                {shape: "gemma2-9b"}, "google/gemma-2-9b-it": {shape: "gemma2-9b"},
}

// byName is the shape of a model of the Hugging Face hub, under what is to become of its windows; ok is false where its
// name is not known.
func byName(name string, w *s2attn.Choice) (k known, ok bool) {
	for _, tuned := range []string{"", "-hf", "-chat-hf", "-Instruct"} {
		base, is := strings.CutSuffix(name, tuned)
		if k, ok = hubNames[base]; is && ok {
			return k, !k.windowed || w != nil && *w == s2attn.Off
		}
	}
	return k, false
}

// fit makes the shape the model's own.
func (k known) fit(d *model.Desc) {
	if k.vocab > 0 {
		d.V = k.vocab
	}
}
