package model

import (
	"math"
	"slices"
)

// Shapes are models known by name, for planning and measuring without a checkpoint.
var Shapes = map[string]Desc{
	"tiny":        {C: 256, F: 688, L: 4, H: 8, Hkv: 8, D: 32, V: 32000, Eps: 1e-5},
	"llama2-7b":   {C: 4096, F: 11008, L: 32, H: 32, Hkv: 32, D: 128, V: 32000, Eps: 1e-5},
	"llama2-13b":  {C: 5120, F: 13824, L: 40, H: 40, Hkv: 40, D: 128, V: 32000, Eps: 1e-5},
	"llama2-70b":  {C: 8192, F: 28672, L: 80, H: 64, Hkv: 8, D: 128, V: 32000, Eps: 1e-5},
	"llama3-8b":   {C: 4096, F: 14336, L: 32, H: 32, Hkv: 8, D: 128, V: 128256, Eps: 1e-5},
	"llama3-70b":  {C: 8192, F: 28672, L: 80, H: 64, Hkv: 8, D: 128, V: 128256, Eps: 1e-5},
	"llama3.2-1b": {C: 2048, F: 8192, L: 16, H: 32, Hkv: 8, D: 64, V: 128256, Eps: 1e-5, Tied: true},
	"llama3.2-3b": {C: 3072, F: 8192, L: 28, H: 24, Hkv: 8, D: 128, V: 128256, Eps: 1e-5, Tied: true},
	// v0.3: no windows
	"mistral-7b": {Arch: &Mistral, C: 4096, F: 14336, L: 32, H: 32, Hkv: 8, D: 128, V: 32768, Eps: 1e-5},
	"qwen2.5-7b": {Arch: &Qwen2, C: 3584, F: 18944, L: 28, H: 28, Hkv: 4, D: 128, V: 152064, Eps: 1e-6,
		Bias: [linears]bool{Q: true, K: true, V: true}},
	"qwen3-8b":   {Arch: &Qwen3, C: 4096, F: 12288, L: 36, H: 32, Hkv: 8, D: 128, V: 151936, Eps: 1e-6},
	"phi-4":      {Arch: &Phi3, C: 5120, F: 17920, L: 40, H: 40, Hkv: 10, D: 128, V: 100352, Eps: 1e-5},
	"phi-3-mini": {Arch: &Phi3, C: 3072, F: 8192, L: 32, H: 32, Hkv: 32, D: 96, V: 32064, Eps: 1e-5}, // without windows
	"gemma2-9b": {Arch: &Gemma2, C: 3584, F: 14336, L: 42, H: 16, Hkv: 8, D: 256, V: 256000, Eps: 1e-6, Tied: true,
		Windows: everySecond(42, 4096), EmbedBy: float32(math.Sqrt(3584)), EmbedRounded: true, ScoresBy: 1.0 / 16,
		ScoresCap: 50, LogitsCap: 30, Act: GELUTanh},
}

// everySecond are the windows of so many layers of which the first and every second after it have one.
func everySecond(layers, window int) []int {
	w := make([]int, layers)
	for i := 0; i < layers; i += 2 {
		w[i] = window
	}
	return w
}

// short are names of shapes by their size alone.
var short = map[string]string{"1b": "llama3.2-1b", "3b": "llama3.2-3b"}

// Shape is the shape of a name, or of a short one; ok is false for an unknown name.
func Shape(name string) (d Desc, ok bool) {
	if s, is := short[name]; is {
		name = s
	}
	d, ok = Shapes[name]
	return d, ok
}

// ShapeNames lists all names, the short ones too.
func ShapeNames() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for n := range Shapes {
			if !yield(n) {
				return
			}
		}
		for n := range short {
			if !yield(n) {
				return
			}
		}
	})
}
