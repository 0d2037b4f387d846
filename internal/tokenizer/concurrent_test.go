package tokenizer

import (
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// encodeAll encodes every text on all cores.
func encodeAll(t testing.TB, tk *Tokenizer, docs []string) [][]int32 {
	out := make([][]int32, len(docs))
	var at atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(at.Add(1)) - 1
				if i >= len(docs) {
					return
				}
				var err error
				if out[i], err = tk.Encode(docs[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return out
}

func TestManyGoroutinesEncodeAsOneDoes(t *testing.T) {
	tk := load(t, func(map[string]any) {})
	docs := make([]string, 200)
	for i := range docs {
		docs[i] = strings.Repeat("hello world </s> or ", i)
	}
	for i, got := range encodeAll(t, tk, docs) {
		if want := encode(t, tk, docs[i]); !reflect.DeepEqual(got, want) && len(want) > 0 {
			t.Fatalf("document %d differs", i)
		}
	}
}
