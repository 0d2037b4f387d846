//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
)

// AttnForward implements ops.Attention.
func (b *Backend) AttnForward(o, lse, q, k, v ops.Tensor, a *ops.Attn) {
	b.enter()
	defer b.leave()
	c, ok := b.attnArgs(q, k, v, a, false)
	if !ok {
		return
	}
	c.o, c.lse = o.P, f32(lse)
	b.check("attention", C.ll_attn_fwd_cuda(&c, b.s()), q, k)
}

// AttnBackward implements ops.Attention.
func (b *Backend) AttnBackward(dq, dk, dv, do, o, q, k, v, lse, delta ops.Tensor, a *ops.Attn) {
	b.enter()
	defer b.leave()
	c, ok := b.attnArgs(q, k, v, a, true)
	if !ok {
		return
	}
	c.o, c.lse, c.dout, c.dq, c.dk, c.dv, c.delta = o.P, f32(lse), do.P, dq.P, f32(dk), f32(dv), f32(delta)
	b.check("attention's gradient", C.ll_attn_bwd_cuda(&c, b.s()), q, k)
}

// attnArgs fills in what both passes need. It is not ok when an error was kept instead.
func (b *Backend) attnArgs(q, k, v ops.Tensor, a *ops.Attn, backward bool) (c C.ll_attn_args, ok bool) {
	if a.Spec.Mode == s2attn.Roll && a.Spec.Window == 0 {
		if b.err == nil {
			b.err = errs.Usagef("%s: --shift roll runs on the CPU only; use --device cpu, or --shift split", b.Name())
		}
		return c, false
	}
	c = C.ll_attn_args{q: q.P, k: k.P, v: v.P, docs: b.putDocs(a.Docs), ndocs: C.int32_t(len(a.Docs) - 1),
		h: C.int32_t(a.H), hkv: C.int32_t(a.Hkv), d: C.int32_t(a.D), mode: C.int32_t(a.Spec.Mode), group: C.int64_t(a.Spec.Group),
		window: C.int32_t(min(a.Spec.Window, math.MaxInt32)), t: dim(q, 0), w: dim(k, 0), q0: C.int64_t(a.Q0), k0: C.int64_t(a.K0), scale: C.float(a.Scale)}
	if a.Fresh {
		c.fresh = 1
	}
	back := C.int(0)
	if backward {
		back = 1
	}
	if n := C.ll_attn_work(&c, back); !a.Work.None() && int64(n) <= a.Work.Bytes() {
		c.work = a.Work.P
	} else {
		c.work = b.room("attention", n, q)
	}
	return c, c.docs != nil && c.work != nil
}

// portableAttention makes the device use the kernels of other devices, so that a test can judge both on one.
func portableAttention(yes bool) {
	on := C.int(0)
	if yes {
		on = 1
	}
	C.ll_attn_portable(on)
}

// putDocs brings the boundaries to the device, unless they lie there already: a tile's layers all have the same.
func (b *Backend) putDocs(docs []int32) *C.int32_t {
	if len(docs)*4 > docsBytes {
		b.keep("attention", fmt.Errorf("%d documents in one tile; at most %d", len(docs)-1, docsBytes/4-1))
		return nil
	}
	if !slices.Equal(docs, b.docs) {
		raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(docs))), 4*len(docs))
		b.keep("documents of a tile", b.send(b.docsRoom(), int64(len(raw)), func(to []byte, lo, hi int64) { copy(to, raw[lo:hi]) }))
		b.docs = append(b.docs[:0], docs...)
	}
	return (*C.int32_t)(b.docsRoom())
}
