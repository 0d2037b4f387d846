package tokenizer

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"longlora/internal/testkit"
)

// cpuSeconds is the processor time that this process has taken.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkEncode encodes the documents of the file BENCH_TEXT, parted by NUL, with the tokenizer in BENCH_TOKENIZER:
// scripts/bench-tokenizer.py runs it beside the tokenizers library.
func BenchmarkEncode(b *testing.B) {
	dir, file := os.Getenv("BENCH_TOKENIZER"), os.Getenv("BENCH_TEXT")
	if dir == "" || file == "" {
		b.Skip("BENCH_TOKENIZER and BENCH_TEXT are not set")
	}
	blob := testkit.Read(b, file)
	docs := strings.Split(string(blob), "\x00")
	for _, mode := range []string{"ids", "spans", "parallel"} {
		b.Run(mode, func(b *testing.B) {
			b.SetBytes(int64(len(blob)))
			cpu := 0.0
			for range b.N {
				b.StopTimer()
				tk, err := Load(dir, nil) // a new one, whose caches are empty
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				cpu -= cpuSeconds(b)
				switch mode {
				case "ids":
					for _, d := range docs {
						encode(b, tk, d)
					}
				case "spans":
					for _, d := range docs {
						encodeSpans(b, tk, d)
					}
				default:
					encodeAll(b, tk, docs)
				}
				cpu += cpuSeconds(b)
			}
			b.ReportMetric(float64(b.N*len(blob))/1e6/cpu, "MB/cpu-s")
		})
	}
}
