//go:build cgo

// Command benchdecode compares the rate at which `longlora generate` makes tokens on the CPU with the rate at which the
// same threads read as many bytes as a token's weights take. The two alternate, each try measuring memory before and
// after; the model should be much larger than the caches.
//
//	make && go run ./scripts/benchdecode -model DIR -threads 2
package main

/*
#cgo CFLAGS: -O3
#include <stdint.h>
typedef uint64_t V __attribute__((vector_size(16)));

// reads n bytes, each quarter as one stream, asking for lines before they are wanted: what was fastest
static uint64_t pass(const char *p, int64_t n) {
    V s[4] = {{0}};
    for (int64_t i = 0; i + 64 <= n / 4; i += 64)
        for (int r = 0; r < 4; r++) {
            const char *q = p + n / 4 * r + i;
            __builtin_prefetch(q + 512);
            for (int k = 0; k < 4; k++) s[k] ^= *(const V *)(q + 16 * k);
        }
    s[0] ^= s[1] ^ s[2] ^ s[3];
    return s[0][0] ^ s[0][1];
}
*/
import "C"

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
	"unsafe"

	"longlora/internal/load"
)

func main() {
	model := flag.String("model", "", "a model's folder")
	prompt := flag.String("prompt", "The", "what is continued")
	threads := flag.Int("threads", 2, "threads of both sides")
	tokens := flag.Int("tokens", 32, "tokens generated a try")
	tries := flag.Int("tries", 7, "tries; the median counts")
	flag.Parse()
	if err := bench(*model, *prompt, *threads, *tokens, *tries); err != nil {
		fmt.Fprintln(os.Stderr, "benchdecode:", err)
		os.Exit(1)
	}
}

func bench(model, prompt string, threads, tokens, tries int) error {
	weights, err := read(model)
	if err != nil {
		return err
	}
	fmt.Printf("%.3f GB of weights a token, %d threads\nGB/s of memory  tok/s  GB/s of weights  ratio\n", weights/1e9,
		threads)
	buf := make([]uint64, 1<<27) // 1 GiB
	for i := range buf {
		buf[i] = uint64(i)
	}
	var ratios []float64
	for range tries {
		before := memory(buf, threads)
		rate, err := generate(model, prompt, threads, tokens)
		if err != nil {
			return err
		}
		mem, got := (before+memory(buf, threads))/2, rate*weights
		ratios = append(ratios, got/mem)
		fmt.Printf("%14.1f  %5.1f  %15.1f  %5.2f\n", mem/1e9, rate, got/1e9, got/mem)
	}
	slices.Sort(ratios)
	fmt.Printf("median ratio %.2f\n", ratios[len(ratios)/2])
	return nil
}

// read is the bytes of weights that a token reads: every matrix but the embedding table, of which it takes one row.
func read(model string) (float64, error) {
	b, err := load.Open(model, "")
	if err != nil {
		return 0, err
	}
	defer b.Close()
	sum := int64(0)
	for _, t := range b.Desc().Tensors() {
		if w, err := b.Weights.Get(t.Name, t.Shape); err != nil {
			return 0, err
		} else if len(t.Shape) == 2 && (b.Desc().Tied || t.Name != "model.embed_tokens.weight") {
			n, _ := w.Format().Bytes(w.Shape)
			sum += n
		}
	}
	return float64(sum), nil
}

var sink [256]uint64 // one a thread; keeps the sums from being left out

// memory is the bytes a second at which threads read buf: the best of 3 passes.
func memory(buf []uint64, threads int) float64 {
	best := 0.0
	for range 3 {
		begun := time.Now()
		var wg sync.WaitGroup
		for k := range threads {
			part := buf[len(buf)/threads*k : len(buf)/threads*(k+1)]
			wg.Go(func() {
				sink[k] = uint64(C.pass((*C.char)(unsafe.Pointer(&part[0])), C.int64_t(8*len(part))))
			})
		}
		wg.Wait()
		best = max(best, 8*float64(len(buf))/time.Since(begun).Seconds())
	}
	return best
}

// generate runs the program once. It returns tokens a second after the first.
func generate(model, prompt string, threads, tokens int) (float64, error) {
	c := exec.Command("bin/longlora", "generate", "--device", "cpu", "--model", model, "--prompt", prompt, "--json",
		"--threads", fmt.Sprint(threads), "--max-tokens", fmt.Sprint(tokens))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	var r struct {
		TokPerS float64 `json:"tok_per_s"`
	}
	return r.TokPerS, json.Unmarshal(out, &r)
}
