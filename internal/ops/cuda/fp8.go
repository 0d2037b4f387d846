//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Weights in FP8 are e4m3fn with a factor an output row, W[o][i] = c[o][i]·f[o]. There are two ways to multiply them.
//
// Made wide: a block of W that the workspace has room for becomes bfloat16, and its product is taken: of rows on the
// way forward, of columns on the way back, so that every element of the result is one product.
//
// In FP8 (FP8 Formats for Deep Learning, arXiv 2209.05433): x gets a scale a row t and codes, and
// Y[t][o] = sx[t]·f[o]·Σ_i x8[t][i]·c[o][i]. On the way back f stands on the index that is summed over, so
// dY[t][o]·f[o] is what is scaled by rows: dX[t][i] = s[t]·Σ_o d8[t][o]·c[o][i]. cuBLASLt wants both operands
// contiguous along the sum, hence a copy of c that is turned round. Sums are float32's, not the tensor cores' fast
// ones.

// MultiplyFP8 implements ops.Card.
func (b *Backend) MultiplyFP8(on bool) (err error) {
	b.enter()
	defer b.leave()
	if !on {
		return b.freeEight()
	}
	const n = 256
	at := b.scratch()
	v := vectors{at, at}
	d := ops.Tensor{P: at, DType: tensor.BF16, Shape: tensor.Shape{n, n}}
	g := b.scaled(d, n, matrix{at, n, false}, at, n, v, nil, nil)
	if b.info.Major*10+b.info.Minor >= 89 && C.ll_gemm_can(b.ll, &g) == 0 {
		if b.eight == nil {
			b.eight, err = alloc(ops.RoomFP8, "products in FP8")
		}
		return err
	}
	file, version := b.BLAS()
	return errs.Usagef("%s fp8: takes a GPU of compute capability 8.9 or later and cuBLASLt 12.9 or later with factors "+
		"by row for it; here are %s, %d.%d, and cuBLASLt %d.%d (%s); use bf16", errs.Option("products"), b.info.Name,
		b.info.Major, b.info.Minor, version/10000, version/100%100, file)
}

// freeEight gives back what products in FP8 have for themselves.
func (b *Backend) freeEight() (err error) {
	if b.eight != nil {
		err = join(b.stream.Synchronize(), cu.MemFree(pointer(b.eight)))
	}
	b.eight = nil
	return err
}

// vectors are factors of the rows of both operands.
type vectors struct{ x, y unsafe.Pointer }

// scaled are the arguments of d (m,n) = (x8 (m,k) · y8 (n,k)ᵀ) · v.x[row] · v.y[column] + c + bias.
func (b *Backend) scaled(d ops.Tensor, ld int, x8 matrix, y8 unsafe.Pointer, k int, v vectors,
	c, bias unsafe.Pointer) C.ll_gemm_args {
	g := b.gemm(d, ld, x8, matrix{y8, k, true}, k, 1, c, bias)
	g.sa, g.sb, g.fast = (*C.float)(v.x), (*C.float)(v.y), yes(b.fast)
	return g
}

// forward8 are the arguments of y (m,out) = (x8 (m,in) · W8ᵀ) · scale[row] · f + res + bias.
func (b *Backend) forward8(y ops.Tensor, x8 matrix, scale unsafe.Pointer, l *ops.Linear,
	res unsafe.Pointer) C.ll_gemm_args {
	w := l.W
	return b.scaled(y, w.Dim(0), x8, w.P, w.Dim(1), vectors{scale, w.Scales.Absmax}, res, l.Bias.P)
}

// room8 divides what products in FP8 have for themselves into pieces.
type room8 struct {
	at   unsafe.Pointer
	left int64
}

func (b *Backend) room8() *room8 { return &room8{b.eight, ops.RoomFP8} }

func (r *room8) take(n int) unsafe.Pointer {
	p, size := r.at, (int64(n)+ops.Align-1)/ops.Align*ops.Align
	r.at, r.left = unsafe.Add(p, size), r.left-size
	return p
}

// whole is what rows, columns and tokens are taken by.
const whole = 128

// step is how many of n rows of so many bytes, and a float each, to take at a time: all that there is room for, in
// pieces of about the same size; 0 where there is room for none.
func (r *room8) step(n, bytes int) int {
	most := int((r.left - 2*ops.Align) / int64(bytes+4))
	if most >= n {
		return n
	}
	if most = most / whole * whole; most == 0 {
		return 0
	}
	pieces := (n + most - 1) / most
	return ((n+pieces-1)/pieces + whole - 1) / whole * whole
}

// part is d's rows [lo, hi) and columns from c0 on, n of them, as an address of what is ld elements a row.
func part(p unsafe.Pointer, row, ld, c0 int) unsafe.Pointer {
	if p == nil {
		return nil
	}
	return unsafe.Add(p, 2*(row*ld+c0))
}

// coded computes Y = x·Wᵀ + Res + Bias of the layers whose weights are codes.
func (b *Backend) coded(x ops.Tensor, p []ops.Proj) {
	var eights []ops.Proj
	n, in := x.Dim(0), x.Dim(1)
	step := 0
	if b.eight != nil {
		step = b.room8().step(n, in)
	}
	for _, q := range p {
		switch {
		case q.L.W.Format.Dense():
		case step > 0 && q.L.W.Format.Code == tensor.FP8 && b.multiplies(x, q, step):
			eights = append(eights, q)
		default:
			b.widened(x, q)
		}
	}
	if len(eights) == 0 {
		return
	}
	r := b.room8()
	x8, sx := r.take(step*in), r.take(4*step)
	for lo := 0; lo < n; lo += step {
		rows := x.Rows(lo, min(lo+step, n))
		b.narrow(x8, sx, rows, nil)
		for _, q := range eights {
			y, res := q.Y.Rows(lo, lo+rows.Dim(0)), part(q.Res.P, lo, q.L.W.Dim(0), 0)
			g := b.forward8(y, matrix{x8, in, false}, sx, q.L, res)
			b.multiply("linear layer in FP8", &g, q.Y, x)
		}
	}
}

// multiplies reports whether the library has a product for all rows of a layer in FP8, step of them at a time.
func (b *Backend) multiplies(x ops.Tensor, q ops.Proj, step int) bool {
	n, in, out := x.Dim(0), x.Dim(1), q.L.W.Dim(0)
	for lo := 0; lo < n; lo += step {
		if lo > 0 && lo+step < n {
			continue // as the first
		}
		r := b.room8()
		x8, sx := r.take(step*in), r.take(4*step)
		y, res := q.Y.Rows(lo, min(lo+step, n)), part(q.Res.P, lo, out, 0)
		g := b.forward8(y, matrix{x8, in, false}, sx, q.L, res)
		if in%16 != 0 || out%16 != 0 || C.ll_gemm_can(b.ll, &g) != 0 {
			return false
		}
	}
	return n > 0
}

// widened computes the same with rows of W made wide.
func (b *Backend) widened(x ops.Tensor, q ops.Proj) {
	w, in, out := q.L.W, x.Dim(1), q.L.W.Dim(0)
	step := max(1, scratchBytes/(2*in))
	if step > whole {
		step = step / whole * whole
	}
	for lo := 0; lo < out; lo += step {
		n := min(step, out-lo)
		y := ops.Tensor{P: b.scratch(), DType: tensor.BF16, Shape: tensor.Shape{n, in}}
		b.widen(y, w, lo, 0)
		d := ops.Tensor{P: part(q.Y.P, 0, out, lo), DType: tensor.BF16, Shape: tensor.Shape{x.Dim(0), n}}
		res, bias := part(q.Res.P, 0, out, lo), part(q.L.Bias.P, 0, 0, lo)
		b.biased("linear layer", d, out, rows(x), turned(y), in, 1, res, bias)
	}
}

// codedBackward computes dx = dy·W + c, c being nil or dx.
func (b *Backend) codedBackward(dx, dy ops.Tensor, w ops.Weight, c unsafe.Pointer) {
	out, in, n := w.Dim(0), w.Dim(1), dy.Dim(0)
	if b.eight != nil && w.Format.Code == tensor.FP8 && out%16 == 0 && in%16 == 0 && b.codedBackward8(dx, dy, w, c) {
		return
	}
	step := max(1, scratchBytes/(2*out))
	if step > whole {
		step = step / whole * whole
	}
	for c0 := 0; c0 < in; c0 += step {
		cols := min(step, in-c0)
		y := ops.Tensor{P: b.scratch(), DType: tensor.BF16, Shape: tensor.Shape{out, cols}}
		b.widen(y, w, 0, c0)
		d := ops.Tensor{P: part(dx.P, 0, in, c0), DType: tensor.BF16, Shape: tensor.Shape{n, cols}}
		b.columns("input's gradient", d, in, rows(dy), rows(y), out, 1, part(c, 0, in, c0))
	}
}

// codedBackward8 is codedBackward in FP8. It reports false, having done nothing, where the library has no such product.
func (b *Backend) codedBackward8(dx, dy ops.Tensor, w ops.Weight, c unsafe.Pointer) bool {
	out, in, n := w.Dim(0), w.Dim(1), dy.Dim(0)
	wide := in // columns of W at a time: all where they leave a quarter of the room to dY
	if int64(in)*int64(out) > ops.RoomFP8/4*3 {
		wide = ops.RoomFP8 / 2 / out / whole * whole
	}
	if wide == 0 {
		return false
	}
	r := b.room8()
	w8, ones := r.take(wide*out), r.take(4*wide)
	step := r.step(n, out)
	if step == 0 {
		return false
	}
	d8, sd := r.take(step*out), r.take(4*step)
	args := func(lo, c0 int) C.ll_gemm_args {
		rows, cols := min(step, n-lo), min(wide, in-c0)
		d := ops.Tensor{P: part(dx.P, lo, in, c0), DType: tensor.BF16, Shape: tensor.Shape{rows, cols}}
		return b.scaled(d, in, matrix{d8, out, false}, w8, out, vectors{sd, ones}, part(c, lo, in, c0), nil)
	}
	for _, lo := range []int{0, (n - 1) / step * step} {
		for _, c0 := range []int{0, (in - 1) / wide * wide} {
			if g := args(lo, c0); C.ll_gemm_can(b.ll, &g) != 0 {
				return false
			}
		}
	}
	for c0 := 0; c0 < in; c0 += wide {
		b.turn(w8, ones, w, c0, min(wide, in-c0))
		for lo := 0; lo < n; lo += step {
			b.narrow(d8, sd, dy.Rows(lo, min(lo+step, n)), w.Scales.Absmax)
			g := args(lo, c0)
			b.multiply("input's gradient in FP8", &g, dx, dy)
		}
	}
	return true
}

// turn writes n columns of W's codes from c0 on as rows, and as many ones.
func (b *Backend) turn(dst, ones unsafe.Pointer, w ops.Weight, c0, n int) {
	a := C.ll_fp8_turn_args{dst: dst, ones: (*C.float)(ones), src: unsafe.Add(w.P, c0), ld: C.int64_t(w.Dim(1)),
		rows: C.int64_t(w.Dim(0)), cols: C.int64_t(n)}
	b.check("turning weights in FP8 round", C.ll_fp8_turn(b.ll, b.s(), &a))
}

// multiply runs a product in FP8.
func (b *Backend) multiply(op string, g *C.ll_gemm_args, ts ...ops.Tensor) {
	status := C.ll_gemm(b.ll, b.s(), g)
	b.spent(float64(g.m)*float64(g.n)*float64(g.k), 0) // in half the time that 2·m·n·k take otherwise
	b.check(op, status, ts...)
}

// narrow gives x's rows, times factor (cols) or nil, as codes and scales.
func (b *Backend) narrow(x8, scale unsafe.Pointer, x ops.Tensor, factor unsafe.Pointer) {
	a := C.ll_fp8_narrow_args{dst: x8, scale: (*C.float)(scale), src: x.P, factor: (*C.float)(factor), rows: dim(x, 0),
		cols: dim(x, 1)}
	b.check("activations in FP8", C.ll_fp8_narrow(b.ll, b.s(), &a), x)
}

// widen writes rows from lo on, columns from c0 on, of W's codes as bfloat16.
func (b *Backend) widen(dst ops.Tensor, w ops.Weight, lo, c0 int) {
	if w.Format.Code == tensor.NF4 {
		b.widenNF4(dst, w, lo, c0)
		return
	}
	ld := w.Dim(1)
	a := C.ll_fp8_widen_args{dst: dst.P, src: unsafe.Add(w.P, lo*ld+c0),
		factor: (*C.float)(unsafe.Add(w.Scales.Absmax, 4*lo)), ld: C.int64_t(ld), rows: dim(dst, 0), cols: dim(dst, 1)}
	b.check("weights in FP8 made wide", C.ll_fp8_widen(b.ll, b.s(), &a), dst)
}

// gates reports whether what SwiGLU gives, or is given, can be made 8 bits wide with it: rows that a block holds, of
// layers that nothing but their products in FP8 reads.
func (b *Backend) gates(h ops.Tensor, layers ...*ops.Linear) bool {
	ok := b.eight != nil && h.Dim(1)%16 == 0 && h.Dim(1) <= mostGated
	for _, l := range layers {
		ok = ok && l.W.Format.Code == tensor.FP8 && l.Alone()
	}
	return ok
}

// mostGated is how wide a row is that a block holds twice: csrc/cuda/fp8.cu.
const mostGated = 896 * 32

// GatedForward implements ops.Gater: codes take h's place, each row the first half of it.
func (b *Backend) GatedForward(h, g, u ops.Tensor, p ops.Proj) bool {
	n, f := h.Dim(0), h.Dim(1)
	if !b.gates(h, p.L) || p.L.W.Dim(0)%16 != 0 {
		return false
	}
	b.enter()
	defer b.leave()
	scale := b.room8().take(4 * n)
	m := b.forward8(p.Y, matrix{h.P, 2 * f, false}, scale, p.L, p.Res.P)
	if C.ll_gemm_can(b.ll, &m) != 0 {
		return false
	}
	a := C.ll_fp8_swiglu_args{dst: h.P, scale: (*C.float)(scale), g: g.P, u: u.P, ld: C.int64_t(2 * f), rows: dim(h, 0),
		cols: dim(h, 1)}
	b.check("SwiGLU in FP8", C.ll_fp8_swiglu(b.ll, b.s(), &a), h, g, u)
	b.multiply("linear layer in FP8", &m, p.Y, h)
	return true
}

// GatedBackward implements ops.Gater: codes take the places of g and u.
func (b *Backend) GatedBackward(dx, dh ops.Tensor, gate, up ops.ProjGrad) bool {
	n, f, c := dh.Dim(0), dh.Dim(1), 0
	if !b.gates(dh, gate.L, up.L) || dx.None() || dx.Dim(1)%16 != 0 {
		return false
	}
	c = dx.Dim(1)
	r := b.room8()
	sg, su, ones, turned := r.take(4*n), r.take(4*n), r.take(4*c), r.take(f*c)
	if r.left < 0 {
		return false
	}
	b.enter()
	defer b.leave()
	ms := [2]C.ll_gemm_args{
		b.scaled(dx, c, matrix{gate.DY.P, 2 * f, false}, turned, f, vectors{sg, ones}, nil, nil),
		b.scaled(dx, c, matrix{up.DY.P, 2 * f, false}, turned, f, vectors{su, ones}, dx.P, nil)}
	if C.ll_gemm_can(b.ll, &ms[0]) != 0 || C.ll_gemm_can(b.ll, &ms[1]) != 0 {
		return false
	}
	fg, fu := gate.L.W.Scales.Absmax, up.L.W.Scales.Absmax
	a := C.ll_fp8_swiglu_grad_args{g: gate.DY.P, u: up.DY.P, sg: (*C.float)(sg), su: (*C.float)(su), dh: dh.P,
		fg: (*C.float)(fg), fu: (*C.float)(fu), rows: dim(dh, 0), cols: dim(dh, 1)}
	b.check("SwiGLU's gradients in FP8", C.ll_fp8_swiglu_grad(b.ll, b.s(), &a), dh, gate.DY, up.DY)
	for i, q := range []ops.ProjGrad{gate, up} {
		b.turn(turned, ones, q.L.W, 0, c)
		b.multiply("input's gradient in FP8", &ms[i], dx, q.DY)
	}
	return true
}
