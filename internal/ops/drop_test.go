package ops

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A token's key depends on everything that it is a function of.
func TestDropKeyDepends(t *testing.T) {
	keys := map[uint64]string{}
	for _, c := range []struct {
		what         string
		seed         uint64
		step, sample int64
		pos          int32
	}{{"one", 1, 2, 3, 4}, {"seed", 2, 2, 3, 4}, {"step", 1, 3, 3, 4}, {"sample", 1, 2, 4, 4}, {"position", 1, 2, 3, 5}, {"step and sample", 1, 3, 2, 4}} {
		k := DropKey(c.seed, c.step, c.sample, c.pos)
		if k != DropKey(c.seed, c.step, c.sample, c.pos) {
			t.Errorf("%s: another key the second time", c.what)
		}
		if old, ok := keys[k]; ok {
			t.Errorf("%s and %s have one key", c.what, old)
		}
		keys[k] = c.what
	}
}

// Elements fall as often as they should, whatever is fixed of key, stream and channel, and independently of each other.
func TestDropRate(t *testing.T) {
	const n = 100_000
	for _, p := range []float32{0.05, 0.5, 0.9} {
		for what, keep := range map[string]func(i int) bool{
			"tokens":   func(i int) bool { return DropKeep(DropKey(1, 1, 1, int32(i)), 3, 5, p) },
			"steps":    func(i int) bool { return DropKeep(DropKey(1, int64(i), 1, 1), 3, 5, p) },
			"streams":  func(i int) bool { return DropKeep(DropKey(1, 1, 1, 1), uint64(i), 5, p) },
			"channels": func(i int) bool { return DropKeep(DropKey(1, 1, 1, 1), 3, i, p) },
			"both of 2": func(i int) bool {
				return DropKeep(DropKey(1, 1, 1, int32(i)), 3, 5, p) && DropKeep(DropKey(1, 1, 1, int32(i)), 4, 5, p)
			},
		} {
			kept, want := 0.0, 1-float64(p)
			if what == "both of 2" {
				want *= want
			}
			for i := range n {
				if keep(i) {
					kept++
				}
			}
			if sd := math.Sqrt(want * (1 - want) / n); math.Abs(kept/n-want) > 4*sd {
				t.Errorf("%s at %v: %g are kept, want %g, give or take %g", what, p, kept/n, want, sd)
			}
		}
	}
}

// The bound that kernels compare a hash with decides as DropKeep does, at the bound and for the smallest rates.
func TestBoundIsDropKeep(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		p := float32(math.Ldexp(r.Float64(), -r.IntN(60)))
		d := Dropout{P: p, Stream: r.Uint64()}
		b := d.Bound()
		for _, u := range []uint64{b - 1<<11, b - 1, b, b + 1<<11, r.Uint64()} {
			if b == 0 && u > 1<<63 { // below none
				continue
			}
			if keep := float64(u>>11)*0x1p-53 >= float64(p); keep != (u >= b) {
				t.Fatalf("rate %v: a hash of %#x is kept %v, the bound %#x says %v", p, u, keep, b, u >= b)
			}
		}
		key, c := r.Uint64(), r.IntN(1<<20)
		if u := mix(mix(key^d.Salt()) ^ uint64(c)); DropKeep(key, d.Stream, c, p) != (u >= b) {
			t.Fatalf("rate %v: DropKeep and the bound differ", p)
		}
	}
}
