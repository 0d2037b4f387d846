package load_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/testkit/backend"
)

// A loss in bfloat16 is off by chance: by about its tokens' errors over the root of their number. Over many drawn rows chance
// cancels, and what is left is a bias, which no backend may have. A token's own error is held to twice a plain step's.
func TestLossBF16(t *testing.T) {
	if testing.Short() {
		t.Skip("with the C kernels; without them these take minutes")
	}
	const draws = 32
	plain := optest.Plain(cpu.New(2))
	for _, name := range models {
		g := open(t, name)
		for _, c := range g.cases(t)[:2] {
			rnd := rand.New(rand.NewPCG(1, 2))
			var rows []*model.Batch
			for range draws {
				ids := make([]int32, g.Ctx)
				for i := range ids {
					ids[i] = g.IDs[rnd.IntN(len(g.IDs))]
				}
				rows = append(rows, row(ids))
			}
			exact := g.losses(t, cpu.New(2), c, rows)
			done := g.losses(t, plain, c, rows)
			yard, _, _ := apart(done, exact)
			for _, be := range append([]ops.Backend{plain}, backend.GPU(t)...) {
				if be != plain {
					done = g.losses(t, be, c, rows)
				}
				token, mean, spread := apart(done, exact)
				t.Logf("%s: %s %s: a token is off by %.2g (plain: %.2g), a row's loss by %.2g ± %.2g", be.Name(), name, c.kind, token, yard, mean, spread)
				if !(token <= 2*yard) {
					t.Errorf("%s: %s %s: a token is off by %g, at most twice %g", be.Name(), name, c.kind, token, yard)
				}
				if !(math.Abs(mean) <= 4*spread/math.Sqrt(draws)) {
					t.Errorf("%s: %s %s: losses are off by %g in the mean of %d rows, with a spread of %g", be.Name(), name, c.kind, mean, draws, spread)
				}
			}
		}
	}
}

// losses are -log p of every token of every row.
func (g golden) losses(t *testing.T, be ops.Backend, c kase, rows []*model.Batch) [][]float32 {
	t.Helper()
	n := g.Ctx
	r, _, done := g.runner(t, be, c.spec, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
	defer done()
	var out [][]float32
	for _, b := range rows {
		nll, err := r.Score(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, nll)
	}
	return out
}

// apart is how far losses are from the exact ones: the root mean square of a token's, and of a row's the mean and the deviation.
func apart(is, exact [][]float32) (token, mean, spread float64) {
	var sum, squares, n float64
	var rows []float64
	for i := range is {
		row := 0.0
		for j := range is[i] {
			e := float64(is[i][j]) - float64(exact[i][j])
			row, sum, n = row+e, sum+e*e, n+1
		}
		rows = append(rows, row/float64(len(is[i])))
	}
	for _, e := range rows {
		mean += e / float64(len(rows))
	}
	for _, e := range rows {
		squares += (e - mean) * (e - mean)
	}
	return math.Sqrt(sum / n), mean, math.Sqrt(squares / float64(len(rows)-1))
}
