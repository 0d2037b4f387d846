package optest

import (
	"fmt"
	"math"
	"sync"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// attentions: forward and backward by the N×N mask, for whole sequences and for tiles that see halos. Rows of k and v
// that no query of the tile may see are NaN.
func attentions(k *kit) {
	k.start("cases")
	r := k.r
	for i := range 40 {
		heads := [][2]int{{1, 1}, {2, 2}, {4, 2}, {3, 1}, {6, 2}, {9, 3}, {5, 5}}[r.IntN(7)]
		a := ops.Attn{H: heads[0], Hkv: heads[1], D: []int{64, 128, 8, 80, 16, 2, 32, 256}[i%8], Scale: 0.3, Docs: []int32{0},
			Spec: s2attn.Spec{Mode: s2attn.Mode(r.IntN(3)), Group: 2 + r.IntN(80)}}
		if a.Spec.Mode == s2attn.Roll {
			a.Spec.Group += a.Spec.Group % 2
		}
		if i >= 24 {
			a.Spec = s2attn.Windowed(2 + r.IntN(120))
		}
		for range 1 + r.IntN(3) {
			n := 1 + r.IntN(100)
			if a.Spec.Mode == s2attn.Roll {
				n = a.Spec.Group * (1 + r.IntN(2))
			}
			a.Docs = append(a.Docs, a.Docs[len(a.Docs)-1]+int32(n))
		}
		n := int(a.Docs[len(a.Docs)-1])
		k.tile(a, 0, n)
		if a.Spec.Mode != s2attn.Roll && n > 3 {
			t0 := r.IntN(n)
			k.tile(a, t0, t0+1+r.IntN(n-t0))
		}
	}
	capped := func(h, hkv, d, n, t0, t1 int, spec s2attn.Spec, cap float32) {
		k.tile(ops.Attn{H: h, Hkv: hkv, D: d, Scale: float32(1 / math.Sqrt(float64(d))), Cap: cap,
			Docs: []int32{0, int32(n)}, Spec: spec}, t0, t1)
	}
	one := func(h, hkv, d, n, t0, t1 int, spec s2attn.Spec) { capped(h, hkv, d, n, t0, t1, spec, 0) }
	k.capped(capped)
	full, split := s2attn.Spec{Mode: s2attn.Full}, func(g int) s2attn.Spec {
		return s2attn.Spec{Mode: s2attn.Split,
			Group: g}
	}
	one(2, 2, 128, 450, 0, 450, split(200))
	one(4, 1, 64, 768, 300, 576, split(384))
	one(2, 1, 128, 321, 0, 321, full)
	one(3, 3, 64, 640, 512, 640, full)
	one(2, 2, 128, 400, 37, 363, split(100))
	one(4, 2, 128, 130, 129, 130, split(50))
	k.single()
	one(4, 2, 20, 262, 260, 261, split(64))
	one(2, 2, 128, 1100, 0, 1100, s2attn.Windowed(512)) // blocks that see all of each other
	one(2, 1, 64, 1024, 384, 1024, s2attn.Windowed(256))
	one(4, 2, 128, 700, 130, 690, s2attn.Windowed(129))
	one(3, 1, 64, 500, 250, 500, s2attn.Windowed(400))
	one(2, 2, 128, 300, 100, 300, s2attn.Windowed(5000)) // longer than all there is
	one(2, 1, 16, 200, 40, 200, s2attn.Windowed(2))
}

// single is attention of one query, as generating has it: of caches that are no multiple of what is divided among
// blocks, or less; of one to many heads that share keys; of sizes that are no multiple of a product's.
func (k *kit) single() {
	for _, c := range []struct {
		h, hkv, d, n, t int
		window          int // 0: full
		cap             float32
	}{
		{h: 8, hkv: 2, d: 64, n: 700, t: 699},
		{h: 3, hkv: 1, d: 88, n: 300, t: 299},
		{h: 4, hkv: 4, d: 128, n: 2, t: 1},
		{h: 2, hkv: 2, d: 128, n: 6, t: 4},
		{h: 8, hkv: 1, d: 128, n: 63, t: 62},
		{h: 16, hkv: 1, d: 64, n: 130, t: 128},
		{h: 12, hkv: 4, d: 96, n: 257, t: 256},
		{h: 4, hkv: 1, d: 256, n: 200, t: 190},
		{h: 7, hkv: 1, d: 80, n: 401, t: 399},
		{h: 2, hkv: 2, d: 128, n: 600, t: 587},
		{h: 2, hkv: 1, d: 136, n: 90, t: 89},
		{h: 3, hkv: 1, d: 20, n: 100, t: 99},
		{h: 8, hkv: 2, d: 64, n: 700, t: 699, window: 300},
		{h: 3, hkv: 1, d: 88, n: 300, t: 299, window: 7},
		{h: 2, hkv: 2, d: 128, n: 500, t: 497, window: 333},
		{h: 8, hkv: 8, d: 16, n: 200, t: 100, window: 5000},
		{h: 4, hkv: 2, d: 256, n: 300, t: 299, window: 70, cap: 50},
		{h: 4, hkv: 2, d: 128, n: 500, t: 400, cap: 1.5},
	} {
		spec := s2attn.Spec{Mode: s2attn.Full}
		if c.window > 0 {
			spec = s2attn.Windowed(c.window)
		}
		k.tile(ops.Attn{H: c.h, Hkv: c.hkv, D: c.d, Scale: float32(1 / math.Sqrt(float64(c.d))), Cap: c.cap,
			Docs: []int32{0, int32(c.n)}, Spec: spec}, c.t, c.t+1)
	}
}

// capped is attention whose scores are capped, low enough to be felt.
func (k *kit) capped(one func(h, hkv, d, n, t0, t1 int, spec s2attn.Spec, cap float32)) {
	one(2, 1, 64, 321, 0, 321, s2attn.Spec{Mode: s2attn.Full}, 1.5)
	one(4, 2, 128, 400, 37, 363, s2attn.Spec{Mode: s2attn.Split, Group: 100}, 2)
	one(2, 2, 16, 700, 130, 690, s2attn.Windowed(129), 50)
	one(8, 2, 64, 700, 699, 700, s2attn.Windowed(300), 1)
	one(4, 2, 256, 300, 20, 300, s2attn.Windowed(70), 50)
	one(2, 2, 128, 1100, 0, 1100, s2attn.Windowed(512), 30)
	one(3, 1, 80, 260, 3, 260, s2attn.Spec{Mode: s2attn.Full}, 0.5)
	one(2, 1, 32, 150, 0, 150, s2attn.Spec{Mode: s2attn.Split, Group: 64}, 4)
}

// tile judges the queries [t0, t1) of the sequence that a's documents make up.
func (k *kit) tile(a ops.Attn, t0, t1 int) {
	if a.Spec.Mode == s2attn.Roll && k.b.Name() != "cpu" {
		return // the CPU's alone
	}
	n := int(a.Docs[len(a.Docs)-1])
	way := fmt.Sprintf("%s G %d", a.Spec.Mode, a.Spec.Group)
	if a.Spec.Window > 0 {
		way = fmt.Sprintf("window %d", a.Spec.Window)
	}
	if a.Cap > 0 {
		way += fmt.Sprintf(", cap %g", a.Cap)
	}
	k.start("%s, %d heads, %d of k and v, size %d, documents %v, tokens %d to %d", way, a.H, a.Hkv, a.D, a.Docs, t0, t1)
	var docs []int
	for _, d := range a.Docs {
		docs = append(docs, int(d))
	}
	masks := map[bool][][]bool{false: s2attn.Mask(a.Spec, docs, false), true: s2attn.Mask(a.Spec, docs, true)}
	seen := make([]int, a.Hkv) // first row that a query of the tile sees
	a.Q0, a.K0 = t0, n
	for j := range seen {
		seen[j] = n
		plain, shifted := s2attn.KVClass(j, a.H, a.Hkv)
		for class, m := range masks {
			if class && !shifted || !class && !plain {
				continue
			}
			for t := t0; t < t1; t++ {
				for s := range min(seen[j], t1) {
					if m[t][s] {
						seen[j] = s
						break
					}
				}
			}
		}
		a.K0 = min(a.K0, seen[j])
	}
	a.K0 = max(0, a.K0-k.r.IntN(4))
	lo, hi := 0, len(a.Docs)-1 // the documents that overlap the tile
	for int(a.Docs[lo+1]) <= t0 {
		lo++
	}
	for int(a.Docs[hi-1]) >= t1 {
		hi--
	}
	a.Docs = a.Docs[lo : hi+1]
	k.attention(&a, t1-t0, masks, seen)
}

func (k *kit) attention(a *ops.Attn, t int, masks map[bool][][]bool, seen []int) {
	w := a.Q0 + t - a.K0
	q, do := k.normal("q", k.act, t, a.H, a.D), k.normal("do", k.act, t, a.H, a.D)
	key, v := k.normal("k", k.act, w, a.Hkv, a.D), k.normal("v", k.act, w, a.Hkv, a.D)
	for i := range key.v {
		if s, j := i/(a.Hkv*a.D)+a.K0, i/a.D%a.Hkv; s < seen[j] {
			key.v[i], v.v[i] = math.NaN(), math.NaN()
		}
	}
	o, lse, delta := k.out("o", k.act, t, a.H, a.D), k.out("lse", tensor.F32, a.H, t), k.scratch("delta", tensor.F32, a.H,
		t)
	own := len(key.v) // from here on gradients are written, before it they are added to what is there
	if a.Fresh = k.r.IntN(2) == 0; a.Fresh {
		own = (a.Q0 - a.K0) * a.Hkv * a.D
	}
	d := tensor.F32
	if a.All = a.Q0 == a.K0 && k.r.IntN(2) == 0; a.All {
		own, d = 0, k.act
	}
	turn := k.turn(t, a.D)
	dq, dk, dv := k.out("dq", k.act, t, a.H, a.D), k.sum("dk", d, w, a.Hkv, a.D), k.sum("dv", d, w, a.Hkv, a.D)
	for i := own; i < len(dk.v); i++ {
		dk.v[i], dv.v[i] = math.NaN(), math.NaN()
	}
	k.judge(1e-5, func() { // float32 rounding over a few hundred keys
		a.Q, a.K, a.V, a.O, a.LSE = q.Tensor, key.Tensor, v.Tensor, o.Tensor, lse.Tensor
		a.DO, a.DQ, a.DK, a.DV, a.Delta = do.Tensor, dq.Tensor, dk.Tensor, dv.Tensor, delta.Tensor
		if a.Turn = (ops.Tensor{}); turn != nil {
			a.Turn = turn.Tensor
		}
		k.b.AttnForward(a)
		k.b.AttnBackward(a)
	}, func(r round) [][]float64 {
		x := attend(a, masks, q.v, key.v, v.v, do.v, r)
		if turn != nil {
			turnBack(x.dq, turn.v, a.H, a.D, r)
		}
		if a.All {
			each(x.dk, r)
			each(x.dv, r)
		}
		if a.All && turn != nil {
			turnBack(x.dk, turn.v, a.Hkv, a.D, r)
		}
		for i := range own {
			x.dk[i] += dk.v[i]
			x.dv[i] += dv.v[i]
		}
		return [][]float64{x.o, x.lse, x.dq, x.dk, x.dv}
	}, o, lse, dq, dk, dv)
}

// turn is what queries and keys of heads of d may have been turned by: nothing, or all or some of their channels.
func (k *kit) turn(t, d int) *arg {
	switch k.r.IntN(3) {
	case 0:
		return nil
	case 1:
		return k.normal("turn", tensor.F32, t, d)
	default:
		return k.normal("turn", tensor.F32, t, 2*(1+k.r.IntN(d/2)))
	}
}

// turnBack is Rope's inverse on x (T,heads,D), by cs (T,R).
func turnBack(x, cs []float64, heads, d int, r round) {
	t := len(x) / (heads * d)
	n := len(cs) / t
	for i := range t * heads {
		y, c := x[i*d:(i+1)*d], cs[i/heads*n:(i/heads+1)*n]
		for j := range n / 2 {
			y[j], y[j+n/2] = r(y[j]*c[j]+y[j+n/2]*c[j+n/2]), r(y[j+n/2]*c[j]-y[j]*c[j+n/2])
		}
	}
}

// each rounds numbers.
func each(x []float64, r round) {
	for i := range x {
		x[i] = r(x[i])
	}
}

// attended is what attention gives, forward and back.
type attended struct{ o, lse, dq, dk, dv []float64 }

// attend computes a tile's attention by its definition. masks are the sequence's, of plain and shifted heads.
func attend(a *ops.Attn, masks map[bool][][]bool, q, k, v, do []float64, r round) attended {
	t, w := len(q)/(a.H*a.D), len(k)/(a.Hkv*a.D)
	x := attended{make([]float64, len(q)), make([]float64, a.H*t), make([]float64, len(q)), make([]float64, len(k)),
		make([]float64, len(k))}
	var wg sync.WaitGroup
	for j := range a.Hkv { // one owner of a key/value head's gradients
		wg.Go(func() {
			for h := j * a.H / a.Hkv; h < (j+1)*a.H/a.Hkv; h++ {
				for i := range t {
					query{a, h, i, masks[s2attn.Shifted(h, a.H)][a.Q0+i][a.K0 : a.K0+w], r}.run(q, k, v, do, x.o, x.lse, x.dq, x.dk,
						x.dv)
				}
			}
		})
	}
	wg.Wait()
	return x
}

// query is the attention of query i of a tile in head h.
type query struct {
	a    *ops.Attn
	h, i int
	mask []bool // over the rows of k and v
	r    round
}

// run computes it forward and back. Done plainly in bfloat16, probabilities and the gradients of scores are rounded
// before they are multiplied.
func (x query) run(q, k, v, do, o, lse, dq, dk, dv []float64) {
	a, r, scale := x.a, x.r, float64(x.a.Scale)
	t := len(lse) / a.H
	qi := (x.i*a.H + x.h) * a.D
	row := func(m []float64, s int) []float64 {
		at := (s*a.Hkv + x.h*a.Hkv/a.H) * a.D
		return m[at : at+a.D]
	}
	p, slope, sum, top := make([]float64, len(x.mask)), make([]float64, len(x.mask)), 0.0, math.Inf(-1)
	for s, on := range x.mask {
		if on {
			p[s], slope[s] = scale*dot(q[qi:qi+a.D], row(k, s)), 1
			if c := float64(a.Cap); c > 0 {
				t := math.Tanh(p[s] / c)
				p[s], slope[s] = c*t, 1-t*t
			}
			top = max(top, p[s])
		}
	}
	for s, on := range x.mask {
		if on {
			p[s] = math.Exp(p[s] - top)
			sum += p[s]
		}
	}
	lse[x.h*t+x.i] = top + math.Log(sum)
	for s, on := range x.mask {
		if on {
			p[s] /= sum
			axpy(o[qi:qi+a.D], r(p[s]), row(v, s))
		}
	}
	for d := qi; d < qi+a.D; d++ {
		o[d] = r(o[d])
	}
	delta := dot(do[qi:qi+a.D], o[qi:qi+a.D])
	for s, on := range x.mask {
		if on {
			ds := r(p[s]*(dot(do[qi:qi+a.D], row(v, s))-delta)*slope[s]) * scale
			axpy(dq[qi:qi+a.D], ds, row(k, s))
			axpy(row(dk, s), ds, q[qi:qi+a.D])
			axpy(row(dv, s), r(p[s]), do[qi:qi+a.D])
		}
	}
	for d := qi; d < qi+a.D; d++ {
		dq[d] = r(dq[d])
	}
}
