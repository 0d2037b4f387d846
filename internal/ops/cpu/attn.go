package cpu

import (
	"unsafe"

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
					out = append(out, segment{[2]int{d1 - half, d0}, [2]int{d1, d0 + half}, [2]int{d1 - half, d0}, [2]int{d1, d0 + half}})
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
func head(a *ops.Attn, h int, s segment, q, k, v ops.Tensor) kernels.Attn {
	j := h / (a.H / a.Hkv)
	return kernels.Attn{Q: at(q, h*a.D), K: at(k, j*a.D), V: at(v, j*a.D), QS: a.H * a.D, KS: a.Hkv * a.D,
		Q0: a.Q0, K0: a.K0, Lo: s.lo, Hi: s.hi, QLo: s.qlo, QHi: s.qhi, Window: a.Spec.Window, D: a.D, Scale: a.Scale}
}

func (b *Backend) attnScratch(worker, d int) unsafe.Pointer {
	return unsafe.Add(b.scratch(worker, b.set.AttnWork(d)), termBytes)
}

// AttnForward implements ops.Attention.
func (b *Backend) AttnForward(o, lse, q, k, v ops.Tensor, a *ops.Attn) {
	t := q.Dim(0)
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
				x := head(a, h, s, q, k, v)
				x.Out, x.LSE = at(o, h*a.D), at(lse, h*t)
				items = append(items, x)
			}
		}
	}
	b.pool.run(len(items), func(i, w int) { b.set.Attention(&items[i], false, b.attnScratch(w, a.D)) })
}

// AttnBackward implements ops.Attention. One work item owns the rows of dk and dv that it adds to: a segment of
// a key/value head with its query heads in order, or a whole key/value head when both classes of queries read it.
func (b *Backend) AttnBackward(dq, dk, dv, do, o, q, k, v, lse, delta ops.Tensor, a *ops.Attn) {
	t, group := q.Dim(0), a.H/a.Hkv
	if a.Fresh {
		b.Zero(dk.Rows(a.Q0-a.K0, a.Q0-a.K0+t))
		b.Zero(dv.Rows(a.Q0-a.K0, a.Q0-a.K0+t))
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
					c := head(a, h, x, q, k, v)
					c.O, c.DOut, c.DQ, c.DK, c.DV = at(o, h*a.D), at(do, h*a.D), at(dq, h*a.D), at(dk, j*a.D), at(dv, j*a.D)
					c.LSE, c.Delta = at(lse, h*t), at(delta, h*t)
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
			b.set.Attention(&items[i][n], true, b.attnScratch(w, a.D))
		}
	})
}
