package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// operations are the contract's, by the names that their files have in every place.
var operations = []string{"adamw", "attn", "embed", "gelu", "layernorm", "linear", "loss", "rms", "rope", "scale", "swiglu", "transfer"}

// places are where an operation has a file: its contract, its two implementations in Go, its judge, its kernels.
var places = []struct {
	dir     string
	ext     []string
	missing map[string]string // operations without a file here, and why
	besides map[string]string // files of no operation, and why
}{
	{dir: "internal/ops", ext: []string{".go"}, besides: map[string]string{
		"ops": "what a backend is", "card": "what a device is", "tensor": "what an operation takes", "weight": "a matrix that it reads", "counter": "the backend that counts",
		"drop": "the hash that dropout is, of linear", "link": "what a rank gives its neighbours", "share": "memory that other processes read"}},
	{dir: "internal/ops/cpu", ext: []string{".go"}, besides: map[string]string{"cpu": "the backend", "pool": "its threads", "share": "memory that other processes read"}},
	{dir: "internal/ops/cuda", ext: []string{".go"}, besides: map[string]string{
		"cuda": "what every build has", "stub": "what a build without CUDA has", "backend": "the backend", "memory": "its memory",
		"weights": "frozen weights", "fp8": "weights in FP8, of linear", "nf4": "weights in NF4, of linear",
		"narrow": "LoRA's factors, of linear", "row": "products of one row, of linear", "ring": "page-locked memory of transfer", "carrier": "copies beside the operations, of transfer",
		"queue":  "how far operations run ahead of the device",
		"locate": "where cuBLASLt and NCCL lie", "nccl": "sums between cards", "share": "memory that other processes read"}},
	{dir: "internal/ops/optest", ext: []string{".go"}, besides: map[string]string{
		"optest": "the judge", "perf": "operations to be timed", "encode": "values as bytes", "plain": "bfloat16 done plainly, the yardstick"}},
	{dir: "csrc/cpu", ext: []string{".h"}, missing: map[string]string{
		"embed": "copies of rows, in Go", "transfer": "copies, in Go"}, besides: map[string]string{
		"kernels": "the interface", "vec": "the compiler's vectors", "drop": "dropout, of linear"}},
	{dir: "csrc/cuda", ext: []string{".cu", ""}, besides: map[string]string{
		"device": "memory and the device", "blas": "cuBLASLt, of linear", "nccl": "sums between cards", "share": "memory that other processes read", "drop": "dropout, of linear", "fp8": "weights in FP8, of linear", "nf4": "weights in NF4, of linear",
		"narrow": "LoRA's factors, of linear", "row": "products of one row, of linear", "driver": "the driver's stand-in"}},
}

// One operation has one name in all places, and nothing else lies there but what is listed with a reason.
func TestOperationsHaveOneName(t *testing.T) {
	for _, p := range places {
		var want, got []string
		for _, op := range operations {
			if p.missing[op] == "" {
				want = append(want, op)
			}
		}
		for name := range p.besides {
			want = append(want, name)
		}
		entries, err := os.ReadDir(filepath.Join("../..", p.dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if slices.Contains(p.ext, ext) && e.IsDir() == (ext == "") && !strings.HasSuffix(e.Name(), "_test.go") {
				got = append(got, strings.TrimSuffix(e.Name(), ext))
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s has %v, want %v: a new operation has a file in each place; what else is there is listed here with its reason", p.dir, got, want)
		}
	}
}
