//go:build cgo

// Command benchproducts compares the CPU backend's matrix products with OpenBLAS in one run, at the shapes of a
// training step of the tiny model: forward products with W (out,in), and the backward ones with its transpose.
// OpenBLAS is opened at run time (Debian: libopenblas0-pthread); -lib names another file.
//
//	go run ./scripts/benchproducts -threads 1,2
package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef void (*sgemm_t)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*threads_t)(int);
static sgemm_t sgemm;
static threads_t set_threads;

static int open_blas(const char *path) {
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h) return 0;
    sgemm = (sgemm_t)dlsym(h, "cblas_sgemm");
    set_threads = (threads_t)dlsym(h, "openblas_set_num_threads");
    return sgemm && set_threads;
}
static void threads(int n) { set_threads(n); }
static void product(int tb, int m, int n, int k, const float *a, const float *b, float *c) {
    sgemm(101, 111, tb ? 112 : 111, m, n, k, 1, a, k, b, tb ? k : n, 0, c, n);
}
*/
import "C"

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/tensor"
)

// A shape is a product of tokens by a weight of (out,in).
type shape struct {
	name            string
	tokens, out, in int
	backward        bool // dx = dy·W instead of y = x·Wᵀ
}

var shapes = []shape{
	{"q forward", 4096, 256, 256, false}, {"gate forward", 4096, 688, 256, false}, {"down forward", 4096, 256, 688, false},
	{"head forward", 256, 32000, 256, false}, {"q backward", 4096, 256, 256, true}, {"gate backward", 4096, 688, 256,
		true},
	{"down backward", 4096, 256, 688, true}, {"head backward", 256, 32000, 256, true}, {"square", 1024, 1024, 4096, false},
}

func main() {
	lib := flag.String("lib", "libopenblas.so.0", "OpenBLAS's shared library")
	counts := flag.String("threads", "1,2", "numbers of threads")
	tries := flag.Int("tries", 7, "runs of each product; the median counts")
	flag.Parse()
	path := C.CString(*lib)
	defer C.free(unsafe.Pointer(path))
	if C.open_blas(path) == 0 {
		fmt.Fprintf(os.Stderr, "benchproducts: %s cannot be opened; on Debian: apt-get install libopenblas0-pthread\n", *lib)
		os.Exit(2)
	}
	fmt.Println("product         threads   ours  OpenBLAS  GFLOP/s  ratio")
	for _, c := range strings.Split(*counts, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "benchproducts: -threads %s: not a list of numbers\n", *counts)
			os.Exit(2)
		}
		be := cpu.New(n)
		C.threads(C.int(n))
		for _, s := range shapes {
			ours, blas := s.measure(be, *tries)
			f := 2 * float64(s.tokens) * float64(s.out) * float64(s.in) / 1e9
			fmt.Printf("%-14s  %7d  %5.1f  %8.1f           %5.2f\n", s.name, n, f/ours, f/blas, blas/ours)
		}
	}
}

// measure gives the median seconds of both sides on the same numbers.
func (s shape) measure(be *cpu.Backend, tries int) (ours, blas float64) {
	rows, cols := s.in, s.out
	if s.backward {
		rows, cols = s.out, s.in
	}
	arena, err := ops.NewArena(be, "operands", ops.Device, 4*int64(s.tokens*rows+s.out*s.in+s.tokens*cols)+3*ops.Align)
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchproducts:", err)
		os.Exit(3)
	}
	defer arena.Free(be)
	x, w, y := arena.New(tensor.F32, s.tokens, rows), arena.New(tensor.F32, s.out, s.in), arena.New(tensor.F32, s.tokens,
		cols)
	for _, t := range []ops.Tensor{x, w} {
		for i, v := 0, t.F32(); i < len(v); i++ {
			v[i] = rand.Float32() - 0.5
		}
	}
	l := &ops.Linear{W: ops.WeightOf(w)}
	time.Sleep(200 * time.Millisecond) // OpenBLAS's threads spin for a while after their last product
	a, b := make([]float64, tries), make([]float64, tries)
	for i := range tries {
		a[i] = seconds(func() {
			if s.backward {
				be.LinearBackward(y, ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{{L: l, DY: x}})
			} else {
				be.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: l, Y: y}})
			}
		})
	}
	tb := C.int(1)
	if s.backward {
		tb = 0
	}
	for i := range tries {
		b[i] = seconds(func() {
			C.product(tb, C.int(s.tokens), C.int(cols), C.int(rows), (*C.float)(x.P), (*C.float)(w.P), (*C.float)(y.P))
		})
	}
	return median(a), median(b)
}

func seconds(f func()) float64 {
	begun := time.Now()
	f()
	return time.Since(begun).Seconds()
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}
