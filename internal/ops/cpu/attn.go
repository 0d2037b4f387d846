package cpu

import (
	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
)

// segment is one segment's pieces and the queries of the tile in them, as the kernel takes them.
type segment struct{ lo, hi, qlo, qhi [2]int }

// segments lists the segments of one class of heads that hold queries of the tile [q0, q1); with a sliding window, the
// documents.
func segments(a *ops.Attn, q0, q1 int, shifted bool) []segment {
	var out []segment
	for i := 0; i+1 < len(a.Docs); i++ {
		d0, d1 := int(a.Docs[i]), int(a.Docs[i+1])
		if a.Spec.Window > 0 {
			out = append(out, segment{lo: [2]int{d0}, hi: [2]int{d1}, qlo: [2]int{max(q0, d0)}, qhi: [2]int{min(q1, d1)}})
			continue
		}
		for t := max(q0, d0); t < min(q1, d1); {
			lo, hi := a.Spec.Segment(t-d0, d1-d0, shifted)
			lo, hi = d0+lo, d0+hi
			next := min(hi, q1)
			if a.Spec.Wraps(t-d0, d1-d0, shifted) {
				if half := a.Spec.Group / 2; t-d0 < half { // the joined segment is listed with its second piece
					out = append(out, segment{[2]int{d1 - half, d0}, [2]int{d1, d0 + half}, [2]int{d1 - half, d0},
						[2]int{d1, d0 + half}})
				}
			} else {
				out = append(out, segment{lo: [2]int{lo}, hi: [2]int{hi}, qlo: [2]int{t}, qhi: [2]int{next}})
			}
			t = next
		}
	}
	return out
}

// queryBlock is how many queries of a segment are one work item of the forward pass.
const queryBlock = 384

// cut divides a segment's queries into work items.
func (s segment) cut() []segment {
	var out []segment
	for p := range 2 {
		for q := s.qlo[p]; q < s.qhi[p]; q += queryBlock {
			x := segment{lo: s.lo, hi: s.hi}
			x.qlo[p], x.qhi[p] = q, min(q+queryBlock, s.qhi[p])
			out = append(out, x)
		}
	}
	return out
}

// head fills in what the kernel needs of query head h over a segment.
func head(a *ops.Attn, h int, s segment) kernels.Attn {
	j := h / (a.H / a.Hkv)
	return kernels.Attn{Q: at(a.Q, h*a.D), K: at(a.K, j*a.D), V: at(a.V, j*a.D), QS: a.H * a.D, KS: a.Hkv * a.D,
		Q0: a.Q0, K0: a.K0, Lo: s.lo, Hi: s.hi, QLo: s.qlo, QHi: s.qhi, Window: a.Spec.Window, D: a.D, Scale: a.Scale,
		Cap: a.Cap}
}

// attention runs one head's over a segment.
func (b *Backend) attention(x *kernels.Attn, back bool, worker int) {
	x.Stop = b.pool.stop
	b.set.Attention(x, back, b.scratch(worker, b.set.AttnWork(x.D)))
}

// AttnForward implements ops.Attention.
func (b *Backend) AttnForward(a *ops.Attn) {
	t := a.Q.Dim(0)
	var items []kernels.Attn
	for _, shifted := range []bool{false, true} {
		var cut []segment
		for _, s := range segments(a, a.Q0, a.Q0+t, shifted) {
			cut = append(cut, s.cut()...)
		}
		for h := range a.H {
			if s2attn.Shifted(h, a.H) != shifted {
				continue
			}
			for _, s := range cut {
				x := head(a, h, s)
				x.Out, x.LSE = at(a.O, h*a.D), at(a.LSE, h*t)
				items = append(items, x)
			}
		}
	}
	b.pool.run(len(items), func(i, w int) { b.attention(&items[i], false, w) })
}

// AttnBackward implements ops.Attention. One work item owns the rows of dk and dv that it adds to: a segment of
// a key/value head with its query heads in order, or a whole key/value head when both classes of queries read it.
func (b *Backend) AttnBackward(a *ops.Attn) {
	t, group := a.Q.Dim(0), a.H/a.Hkv
	if a.Fresh || a.All {
		b.Zero(a.DK.Rows(a.Q0-a.K0, a.Q0-a.K0+t))
		b.Zero(a.DV.Rows(a.Q0-a.K0, a.Q0-a.K0+t))
	}
	segs := map[bool][]segment{}
	for _, shifted := range []bool{false, true} {
		segs[shifted] = segments(a, a.Q0, a.Q0+t, shifted)
	}
	var items [][]kernels.Attn
	for j := range a.Hkv {
		plain, shifted := s2attn.KVClass(j, a.H, a.Hkv)
		var mixed []kernels.Attn
		for si, s := range segs[!plain] {
			var own []kernels.Attn
			for h := j * group; h < (j+1)*group; h++ {
				list := []segment{s}
				if s2attn.Shifted(h, a.H) == plain { // a head of the other class, in an item of both
					if list = nil; si == 0 {
						list = segs[true]
					}
				}
				for _, x := range list {
					c := head(a, h, x)
					c.O, c.DOut, c.DQ = at(a.O, h*a.D), at(a.DO, h*a.D), at(a.DQ, h*a.D)
					c.DK, c.DV = at(a.DK, j*a.D), at(a.DV, j*a.D)
					c.LSE, c.Delta = at(a.LSE, h*t), at(a.Delta, h*t)
					own = append(own, c)
				}
			}
			if plain && shifted {
				mixed = append(mixed, own...)
			} else {
				items = append(items, own)
			}
		}
		if mixed != nil {
			items = append(items, mixed)
		}
	}
	b.pool.run(len(items), func(i, w int) {
		for n := range items[i] {
			b.attention(&items[i][n], true, w)
		}
	})
	if !a.Turn.None() {
		b.Rope(a.DQ, a.DQ, a.Turn, true)
	}
	if !a.Turn.None() && a.All {
		b.Rope(a.DK, a.DK, a.Turn, true)
	}
}
