//go:build cgo

package cpu

/*
#cgo CFLAGS: -O3 -std=gnu11 -Wall -Wno-psabi
#cgo LDFLAGS: -lm
#cgo noescape ll_gemm_work
#cgo nocallback ll_gemm_work
#cgo noescape ll_gemm
#cgo nocallback ll_gemm
#cgo noescape ll_skinny
#cgo nocallback ll_skinny
#cgo noescape ll_gemv
#cgo nocallback ll_gemv
#cgo noescape ll_attn_work
#cgo nocallback ll_attn_work
#cgo noescape ll_attn
#cgo nocallback ll_attn
#cgo noescape ll_softmax
#cgo nocallback ll_softmax
#cgo noescape ll_rms_fwd
#cgo nocallback ll_rms_fwd
#cgo noescape ll_rms_bwd
#cgo nocallback ll_rms_bwd
#cgo noescape ll_rms_weight
#cgo nocallback ll_rms_weight
#cgo noescape ll_swiglu_fwd
#cgo nocallback ll_swiglu_fwd
#cgo noescape ll_swiglu_bwd
#cgo nocallback ll_swiglu_bwd
#cgo noescape ll_layernorm_fwd
#cgo nocallback ll_layernorm_fwd
#cgo noescape ll_layernorm_bwd
#cgo nocallback ll_layernorm_bwd
#cgo noescape ll_layernorm_weight
#cgo nocallback ll_layernorm_weight
#cgo noescape ll_gelu_fwd
#cgo nocallback ll_gelu_fwd
#cgo noescape ll_gelu_bwd
#cgo nocallback ll_gelu_bwd
#cgo noescape ll_scale
#cgo nocallback ll_scale
#cgo noescape ll_drop
#cgo nocallback ll_drop
#cgo noescape ll_drop_da
#cgo nocallback ll_drop_da
#cgo noescape ll_drop_dx
#cgo nocallback ll_drop_dx
#cgo noescape ll_rope
#cgo nocallback ll_rope
#cgo noescape ll_adamw
#cgo nocallback ll_adamw
#include "kernels.h"

_Static_assert(2 * sizeof(ll_term_t) <= 256, "TermBytes");

typedef struct {
    int64_t (*gemm_work)(void);
    void (*gemm)(const ll_gemm_t *, float *);
    void (*skinny)(const ll_skinny_t *);
    void (*gemv)(float *, const float *, const ll_matrix_t *, int64_t, int64_t, int64_t);
    int64_t (*attn_work)(int32_t);
    void (*attn_fwd)(const ll_attn_t *, float *);
    void (*attn_bwd)(const ll_attn_t *, float *);
    float (*softmax)(const ll_softmax_t *, int32_t *);
    void (*rms_fwd)(const ll_rms_t *);
    void (*rms_bwd)(const ll_rms_t *);
    void (*rms_weight)(float *, const ll_rms_t *, int64_t);
    void (*swiglu_fwd)(float *, const float *, const float *, int64_t);
    void (*swiglu_bwd)(float *, float *, const float *, const float *, const float *, int64_t);
    void (*layernorm_fwd)(const ll_layernorm_t *);
    void (*layernorm_bwd)(const ll_layernorm_t *);
    void (*layernorm_weight)(const ll_layernorm_t *, int64_t);
    void (*gelu_fwd)(const ll_gelu_t *);
    void (*gelu_bwd)(const ll_gelu_t *);
    void (*scale)(float *, const float *, const float *, float, int64_t);
    void (*drop)(float *, const float *, const ll_drop_t *, int64_t, int64_t);
    void (*drop_da)(const ll_drop_grad_t *);
    void (*drop_dx)(const ll_drop_grad_t *);
    void (*rope)(const ll_rope_t *);
    void (*adamw)(const ll_adamw_t *);
} ll_set_t;

#define SET(S) {ll_gemm_work_##S, ll_gemm_##S, ll_skinny_##S, ll_gemv_##S, ll_attn_work_##S, ll_attn_fwd_##S, \
    ll_attn_bwd_##S, ll_softmax_##S, ll_rms_fwd_##S, ll_rms_bwd_##S, ll_rms_weight_##S, ll_swiglu_fwd_##S,     \
    ll_swiglu_bwd_##S, ll_layernorm_fwd_##S, ll_layernorm_bwd_##S, ll_layernorm_weight_##S, ll_gelu_fwd_##S,    \
    ll_gelu_bwd_##S, ll_scale_##S, ll_drop_##S, ll_drop_da_##S, ll_drop_dx_##S, ll_rope_##S, ll_adamw_##S}
static const ll_set_t ll_sets[3] = {SET(plain), SET(avx2), SET(avx512)};

static int ll_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return 1;
#endif
    return 0;
}

static int64_t ll_gemm_work(int s) { return ll_sets[s].gemm_work(); }
static void ll_gemm(int s, const ll_gemm_t *a, float *work) { ll_sets[s].gemm(a, work); }
static void ll_skinny(int s, const ll_skinny_t *a) { ll_sets[s].skinny(a); }
static void ll_gemv(int s, float *y, const float *x, ll_matrix_t w, int64_t first, int64_t out, int64_t in) {
    ll_sets[s].gemv(y, x, &w, first, out, in);
}
static int64_t ll_attn_work(int s, int32_t d) { return ll_sets[s].attn_work(d); }
static void ll_attn(int s, int back, const ll_attn_t *a, float *work) {
    if (back) ll_sets[s].attn_bwd(a, work);
    else ll_sets[s].attn_fwd(a, work);
}
static float ll_softmax(int s, const ll_softmax_t *a, int32_t *best) { return ll_sets[s].softmax(a, best); }
static void ll_rms_fwd(int s, const ll_rms_t *a) { ll_sets[s].rms_fwd(a); }
static void ll_rms_bwd(int s, const ll_rms_t *a) { ll_sets[s].rms_bwd(a); }
static void ll_rms_weight(int s, float *dw, const ll_rms_t *a, int64_t w) { ll_sets[s].rms_weight(dw, a, w); }
static void ll_swiglu_fwd(int s, float *h, const float *g, const float *u, int64_t n) {
    ll_sets[s].swiglu_fwd(h, g, u, n);
}
static void ll_swiglu_bwd(int s, float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n) {
    ll_sets[s].swiglu_bwd(dg, du, dh, g, u, n);
}
static void ll_layernorm_fwd(int s, const ll_layernorm_t *a) { ll_sets[s].layernorm_fwd(a); }
static void ll_layernorm_bwd(int s, const ll_layernorm_t *a) { ll_sets[s].layernorm_bwd(a); }
static void ll_layernorm_weight(int s, const ll_layernorm_t *a, int64_t w) { ll_sets[s].layernorm_weight(a, w); }
static void ll_gelu_fwd(int s, const ll_gelu_t *a) { ll_sets[s].gelu_fwd(a); }
static void ll_gelu_bwd(int s, const ll_gelu_t *a) { ll_sets[s].gelu_bwd(a); }
static void ll_scale(int s, float *y, const float *res, const float *x, float f, int64_t n) {
    ll_sets[s].scale(y, res, x, f, n);
}
static void ll_drop(int s, float *y, const float *x, ll_drop_t d, int64_t n, int64_t c) {
    ll_sets[s].drop(y, x, &d, n, c);
}
static void ll_drop_da(int s, ll_drop_t d, ll_drop_grad_t a) { a.drop = &d, ll_sets[s].drop_da(&a); }
static void ll_drop_dx(int s, ll_drop_t d, ll_drop_grad_t a) { a.drop = &d, ll_sets[s].drop_dx(&a); }
static void ll_rope(int s, const ll_rope_t *a) { ll_sets[s].rope(a); }
static void ll_adamw(int s, const ll_adamw_t *a) { ll_sets[s].adamw(a); }
*/
import "C"

import (
	"unsafe"

	"longlora/internal/tensor"
)

// Set is an instruction set's kernels.
type Set int

// The sets, from the one that runs anywhere to the widest.
const (
	Plain Set = iota
	AVX2
	AVX512
)

func (s Set) String() string { return [...]string{"plain", "avx2", "avx512"}[s] }

// Cgo reports whether the kernels are C.
const Cgo = true

// Best is the widest set that this processor has.
func Best() Set { return Set(C.ll_best()) }

func f32(p ptr) *C.float  { return (*C.float)(p) }
func i64(n int) C.int64_t { return C.int64_t(n) }
func f(x float32) C.float { return C.float(x) }
func (s Set) c() C.int    { return C.int(s) }
func cbool(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

// kinds are the formats of a matrix as C numbers them.
var kinds = map[tensor.DType]C.int32_t{tensor.F32: C.LL_F32, tensor.BF16: C.LL_BF16, tensor.F16: C.LL_F16}

func (m Matrix) c() C.ll_matrix_t {
	q := m.Codes
	if q == nil {
		return C.ll_matrix_t{p: m.P, _type: kinds[m.Type]}
	}
	at := func(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }
	if q.Format.Code == tensor.FP8 {
		return C.ll_matrix_t{p: m.P, _type: C.LL_FP8, block: i64(q.Shape[1]), absmax: at(q.Scales.Absmax)}
	}
	return C.ll_matrix_t{p: m.P, _type: C.LL_NF4, values: kinds[q.Format.Type], block: i64(q.Format.Block),
		nested: i64(q.Format.Nested),
		map_:   at(q.Scales.Map), absmax: at(q.Scales.Absmax), nested_map: at(q.Scales.NestedMap),
		nested_absmax: at(q.Scales.NestedAbsmax),
		offset:        f(q.Scales.Offset)}
}

// GemmWork is how many floats of scratch Gemm wants.
func (s Set) GemmWork() int { return int(C.ll_gemm_work(s.c())) }

// Gemm computes a block of a sum of products.
func (s Set) Gemm(a *Gemm) {
	g := C.ll_gemm_t{nterms: C.int32_t(len(a.Terms)), c: f32(a.C), cin: f32(a.CIn), bias: f32(a.Bias),
		ldc: i64(a.LDC), ldcin: i64(a.LDCIn), m0: i64(a.M0), m1: i64(a.M1), n0: i64(a.N0), n1: i64(a.N1),
		stop: (*C.uint32_t)(a.Stop)}
	// The terms lie at the front of the scratch, in C's memory: their matrices may be of Go's, which a struct of Go's that
	// C is given must not point at.
	g.terms = (*C.ll_term_t)(a.Work)
	for i, x := range a.Terms {
		unsafe.Slice((*C.ll_term_t)(a.Work), len(a.Terms))[i] = C.ll_term_t{a: f32(x.A), ars: i64(x.ARS), acs: i64(x.ACS),
			alpha: f(x.Alpha),
			b:     x.B.c(), brs: i64(x.BRS), bcs: i64(x.BCS), k: i64(x.K)}
	}
	C.ll_gemm(s.c(), &g, f32(unsafe.Add(a.Work, TermBytes)))
}

// Skinny computes a product of few columns.
func (s Set) Skinny(a *Skinny) {
	C.ll_skinny(s.c(), &C.ll_skinny_t{c: f32(a.C), a: f32(a.A), b: f32(a.B), ldc: i64(a.LDC), lda: i64(a.LDA),
		ldb: i64(a.LDB), m: i64(a.M), n: i64(a.N), k: i64(a.K)})
}

// Gemv computes a product with one row.
func (s Set) Gemv(a *Gemv) {
	C.ll_gemv(s.c(), f32(a.Y), f32(a.X), a.W.c(), i64(a.First), i64(a.Out), i64(a.In))
}

// AttnWork is how many floats of scratch attention wants.
func (s Set) AttnWork(d int) int { return int(C.ll_attn_work(s.c(), C.int32_t(d))) }

// Attention runs the forward pass, or the backward pass.
func (s Set) Attention(a *Attn, back bool, work ptr) {
	c := C.ll_attn_t{q: f32(a.Q), k: f32(a.K), v: f32(a.V), o: f32(a.O), dout: f32(a.DOut), out: f32(a.Out),
		dq: f32(a.DQ), dk: f32(a.DK), dv: f32(a.DV), lse: f32(a.LSE), delta: f32(a.Delta), qs: i64(a.QS), ks: i64(a.KS),
		q0: i64(a.Q0), k0: i64(a.K0), window: i64(a.Window), d: C.int32_t(a.D), scale: f(a.Scale), cap: f(a.Cap),
		stop: (*C.uint32_t)(a.Stop)}
	for i := range 2 {
		c.lo[i], c.hi[i], c.qlo[i], c.qhi[i] = i64(a.Lo[i]), i64(a.Hi[i]), i64(a.QLo[i]), i64(a.QHi[i])
	}
	C.ll_attn(s.c(), C.int(cbool(back)), &c, f32(work))
}

// Softmax returns -log p of a row's target. best, when wanted, is the lowest index of the largest logit.
func (s Set) Softmax(a *Softmax, best *int32) float32 {
	c := C.ll_softmax_t{row: f32(a.Row), n: i64(a.N), target: C.int32_t(a.Target), scale: f(a.Scale), cap: f(a.Cap),
		grad: cbool(a.Grad)}
	return float32(C.ll_softmax(s.c(), &c, (*C.int32_t)(best)))
}

func (a *RMS) c() *C.ll_rms_t {
	return &C.ll_rms_t{y: f32(a.Y), rstd: f32(a.RStd), dx: f32(a.DX), x: f32(a.X), w: f32(a.W), dy: f32(a.DY),
		n: i64(a.N), c: i64(a.C), plus: f(a.Plus), eps: f(a.Eps)}
}

// RMSForward norms rows.
func (s Set) RMSForward(a *RMS) { C.ll_rms_fwd(s.c(), a.c()) }

// RMSBackward adds to DX.
func (s Set) RMSBackward(a *RMS) { C.ll_rms_bwd(s.c(), a.c()) }

// RMSWeight adds Σ_t RStd[t]·DY[t][i]·X[t][i] to dw for w adjacent channels.
func (s Set) RMSWeight(dw ptr, a *RMS, w int) { C.ll_rms_weight(s.c(), f32(dw), a.c(), i64(w)) }

// SwiGLUForward is h = g·σ(g)·u over n elements.
func (s Set) SwiGLUForward(h, g, u ptr, n int) {
	C.ll_swiglu_fwd(s.c(), f32(h), f32(g), f32(u), i64(n))
}

// SwiGLUBackward is its gradient over n elements.
func (s Set) SwiGLUBackward(dg, du, dh, g, u ptr, n int) {
	C.ll_swiglu_bwd(s.c(), f32(dg), f32(du), f32(dh), f32(g), f32(u), i64(n))
}

func (a *LayerNorm) c() *C.ll_layernorm_t {
	return &C.ll_layernorm_t{y: f32(a.Y), stat: f32(a.Stat), dx: f32(a.DX), dw: f32(a.DW), dbias: f32(a.DBias),
		x: f32(a.X), w: f32(a.W),
		bias: f32(a.Bias), dy: f32(a.DY), n: i64(a.N), c: i64(a.C), eps: f(a.Eps)}
}

// LayerNormForward norms rows.
func (s Set) LayerNormForward(a *LayerNorm) { C.ll_layernorm_fwd(s.c(), a.c()) }

// LayerNormBackward adds to DX.
func (s Set) LayerNormBackward(a *LayerNorm) { C.ll_layernorm_bwd(s.c(), a.c()) }

// LayerNormWeight adds to DW and DBias for w adjacent channels.
func (s Set) LayerNormWeight(a *LayerNorm, w int) { C.ll_layernorm_weight(s.c(), a.c(), i64(w)) }

func (a *GELU) c() *C.ll_gelu_t {
	return &C.ll_gelu_t{h: f32(a.H), dg: f32(a.DG), du: f32(a.DU), g: f32(a.G), u: f32(a.U), n: i64(a.N),
		tanh: cbool(a.Tanh)}
}

// GELUForward is H = gelu(G)·U.
func (s Set) GELUForward(a *GELU) { C.ll_gelu_fwd(s.c(), a.c()) }

// GELUBackward is its gradient.
func (s Set) GELUBackward(a *GELU) { C.ll_gelu_bwd(s.c(), a.c()) }

// Scale is y = res + f·x over n elements, or f·x where res is nil.
func (s Set) Scale(y, res, x ptr, by float32, n int) {
	C.ll_scale(s.c(), f32(y), f32(res), f32(x), f(by), i64(n))
}

func (d Drop) c() C.ll_drop_t {
	return C.ll_drop_t{keys: (*C.uint64_t)(d.Keys), salt: C.uint64_t(d.Salt), bound: C.uint64_t(d.Bound),
		factor: f(d.Factor)}
}

// Drop is y = drop(x) for n tokens of c channels.
func (s Set) Drop(y, x ptr, d Drop, n, c int) {
	C.ll_drop(s.c(), f32(y), f32(x), d.c(), i64(n), i64(c))
}

func (a *DropGrad) c() C.ll_drop_grad_t {
	return C.ll_drop_grad_t{da: f32(a.DA), dx: f32(a.DX), dxa: f32(a.DXA), x: f32(a.X), a: f32(a.A), scale: f(a.Scale),
		n: i64(a.N), c: i64(a.C), r: i64(a.R), i: i64(a.I), w: i64(a.W)}
}

// DropDA adds to DA.
func (s Set) DropDA(a *DropGrad) { C.ll_drop_da(s.c(), a.Drop.c(), a.c()) }

// DropDX adds to DX.
func (s Set) DropDX(a *DropGrad) { C.ll_drop_dx(s.c(), a.Drop.c(), a.c()) }

// Rope turns heads.
func (s Set) Rope(a *Rope) {
	C.ll_rope(s.c(), &C.ll_rope_t{dst: f32(a.Dst), src: f32(a.Src), cs: f32(a.CS), n: i64(a.N), heads: i64(a.Heads),
		d: i64(a.D), r: i64(a.R), sign: f(a.Sign)})
}

// AdamW updates elements.
func (s Set) AdamW(a *AdamW) {
	C.ll_adamw(s.c(), &C.ll_adamw_t{w: f32(a.W), m: f32(a.M), v: f32(a.V), g: f32(a.Grad), n: i64(a.N),
		gscale: f(a.GradScale), decay: f(a.Decay), r1: f(a.R1), b2: f(a.B2), r2: f(a.R2), step: f(a.Step), root: f(a.Root),
		eps: f(a.Eps)})
}
