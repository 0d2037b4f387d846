package load

import (
	"math/rand/v2"
	"slices"
	"testing"

	"longlora/internal/data"
	"longlora/internal/ops"
)

// A token is the target of the one before it in its document, where it is scored; Scored counts just those.
func TestTargets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + r.IntN(40)
		row := data.Row{Docs: []int32{0}}
		for i := range n {
			row.IDs = append(row.IDs, int32(100+i))
			if i > 0 && r.IntN(6) == 0 {
				row.Docs = append(row.Docs, int32(i))
			}
		}
		if r.IntN(4) > 0 {
			row.Scored = []data.Span{}
			for at := r.IntN(5); at < n; {
				hi := min(n, at+1+r.IntN(5))
				row.Scored = append(row.Scored, data.Span{Lo: int32(at), Hi: int32(hi)})
				at = hi + r.IntN(4)
			}
		}
		w := Batches{Seed: 5, Drop: true}
		w.Start()
		w.Add(data.Row{IDs: []int32{7}, Docs: []int32{0}}, 1, 0) // rows before it change nothing
		w.Add(row, 1, 1)
		keys := w.Batch().Keys
		if len(keys) != n+1 {
			t.Fatalf("%d keys for %d tokens", len(keys), n+1)
		}
		for i, key := range keys[1:] {
			if want := ops.DropKey(5, 1, 1, int32(i)); key != want {
				t.Fatalf("token %d of step 1's sample 1 has the key %#x, want %#x", i, key, want)
			}
		}
		got, count := w.Batch().Targets[1:], 0
		for i := range n {
			want := int32(-1)
			in := row.Scored == nil || slices.ContainsFunc(row.Scored, func(s data.Span) bool { return int32(i+1) >= s.Lo && int32(i+1) < s.Hi })
			if i+1 < n && in && !slices.Contains(row.Docs, int32(i+1)) {
				want = row.IDs[i+1]
				count++
			}
			if got[i] != want {
				t.Fatalf("row %+v: the target of token %d is %d, want %d", row, i, got[i], want)
			}
		}
		if Scored(row) != count {
			t.Fatalf("row %+v: %d targets, counted %d", row, count, Scored(row))
		}
	}
}
