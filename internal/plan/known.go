package plan

import "strings"

// hubNames are models of the Hugging Face hub whose shapes are known by name, without what stands for all that are
// tuned from one: "-Instruct" and the like.
var hubNames = map[string]string{
	"meta-llama/Llama-2-7b": "llama2-7b", "meta-llama/Llama-2-13b": "llama2-13b", "meta-llama/Llama-2-70b": "llama2-70b",
	"meta-llama/Meta-Llama-3-8B": "llama3-8b", "meta-llama/Meta-Llama-3-70B": "llama3-70b",
	"meta-llama/Llama-3.1-8B": "llama3-8b", "meta-llama/Llama-3.1-70B": "llama3-70b",
	"meta-llama/Meta-Llama-3.1-8B": "llama3-8b", "meta-llama/Meta-Llama-3.1-70B": "llama3-70b",
	"meta-llama/Llama-3.2-1B": "llama3.2-1b", "meta-llama/Llama-3.2-3B": "llama3.2-3b",
	"mistralai/Mistral-7B-v0.3": "mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3": "mistral-7b",
	"Qwen/Qwen2.5-7B": "qwen2.5-7b", "Qwen/Qwen3-8B": "qwen3-8b", "Qwen/Qwen3-8B-Base": "qwen3-8b",
	"microsoft/phi-4": "phi-4",
}

// shapeOf is the shape of a model of the Hugging Face hub; "" where its name is not known.
func shapeOf(name string) string {
	for _, tuned := range []string{"", "-hf", "-chat-hf", "-Instruct"} {
		if base, ok := strings.CutSuffix(name, tuned); ok {
			if s := hubNames[base]; s != "" {
				return s
			}
		}
	}
	return ""
}
