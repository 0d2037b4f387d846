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
func (b *Backend) AttnForward(a *ops.Attn) {
	b.enter()
	defer b.leave()
	const what = "attention"
	c, ok := b.attnArgs(a)
	if !ok {
		return
	}
	if n := C.ll_attn_fwd_work(b.ll, &c); n > 0 {
		if c.work = b.room(what, n, a.Q); c.work == nil {
			return
		}
	}
	status := C.ll_attn_fwd(b.ll, b.s(), &c)
	b.spent(8*float64(a.D)*a.Pairs(a.Q.Dim(0)), 0) // at half a product's rate
	b.check(what, status, a.Q, a.K)
}

// AttnBackward implements ops.Attention.
func (b *Backend) AttnBackward(a *ops.Attn) {
	const what = "attention's gradient"
	b.enter()
	defer b.leave()
	c, ok := b.attnArgs(a)
	if !ok {
		return
	}
	c.dout, c.dq, c.dk, c.dv, c.delta = a.DO.P, a.DQ.P, a.DK.P, a.DV.P, f32(a.Delta)
	c.fresh, c.all = yes(a.Fresh), yes(a.All)
	if !a.Turn.None() {
		c.turn, c.r = f32(a.Turn), C.int32_t(a.Turn.Dim(1))
	}
	if n := C.ll_attn_bwd_work(&c); !a.Work.None() && int64(n) <= a.Work.Bytes() {
		c.work = a.Work.P
	} else if c.work = b.room(what, n, a.Q); c.work == nil {
		return
	}
	status := C.ll_attn_bwd(b.ll, b.s(), &c)
	b.spent(20*float64(a.D)*a.Pairs(a.Q.Dim(0)), 0)
	b.check(what, status, a.Q, a.K)
}

// attnArgs fills in what both passes need. It is not ok when an error was kept instead.
func (b *Backend) attnArgs(a *ops.Attn) (c C.ll_attn_args, ok bool) {
	if a.Spec.Mode == s2attn.Roll && a.Spec.Window == 0 {
		if b.err == nil {
			b.err = errs.Usagef("%s: %s roll runs on the CPU only; use %s cpu, or %s split", b.Name(), errs.Option("shift"),
				errs.Option("device"), errs.Option("shift"))
		}
		return c, false
	}
	docs := b.putDocs(a.Docs)
	return C.ll_attn_args{q: a.Q.P, k: a.K.P, v: a.V.P, o: a.O.P, lse: f32(a.LSE),
		scale: C.float(a.Scale), cap: C.float(a.Cap),
		h: C.int32_t(a.H), hkv: C.int32_t(a.Hkv), d: C.int32_t(a.D), docs: docs, ndocs: C.int32_t(len(a.Docs) - 1),
		mode: C.int32_t(a.Spec.Mode), group: C.int64_t(a.Spec.Group), window: C.int32_t(min(a.Spec.Window, math.MaxInt32)),
		t: dim(a.Q, 0), w: dim(a.K, 0), q0: C.int64_t(a.Q0), k0: C.int64_t(a.K0)}, docs != nil
}

// portable makes the device use the kernels of other devices, so that a test can judge both on one.
func (b *Backend) portable(on bool) { C.ll_device_portable(b.ll, C.int(yes(on))) }

// crowded says that other kernels may hold some multiprocessors for long, as NCCL's do that wait for another card.
func (b *Backend) crowded(on bool) { C.ll_device_crowded(b.ll, C.int(yes(on))) }

// putDocs brings the boundaries to the device, unless they lie there already: a tile's layers all have the same.
func (b *Backend) putDocs(docs []int32) *C.int32_t {
	if len(docs)*4 > docsBytes {
		b.keep("attention", fmt.Errorf("%d documents in one tile; at most %d", len(docs)-1, docsBytes/4-1))
		return nil
	}
	if !slices.Equal(docs, b.docs) {
		raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(docs))), 4*len(docs))
		b.keep("documents of a tile", b.send(b.docsRoom(), int64(len(raw)), func(to []byte, lo, hi int64) {
			copy(to,
				raw[lo:hi])
		}))
		b.docs = append(b.docs[:0], docs...)
	}
	return (*C.int32_t)(b.docsRoom())
}
