//go:build cgo

package cpu

/*
#cgo CFLAGS: -O3 -std=gnu11 -Wall -Wno-psabi
#cgo LDFLAGS: -lm
#include "kernels.h"

typedef struct {
    int64_t (*gemm_work)(void);
    void (*gemm)(const ll_gemm_t *, float *);
    void (*skinny)(float *, int64_t, const float *, int64_t, int64_t, const float *, int64_t, int64_t, int64_t);
    void (*gemv)(float *, const float *, const void *, int32_t, int64_t, int64_t);
    int64_t (*attn_work)(int32_t);
    void (*attn_fwd)(const ll_attn_t *, float *);
    void (*attn_bwd)(const ll_attn_t *, float *);
    float (*softmax)(float *, int64_t, int32_t, float, int32_t, int32_t *);
    void (*rms_fwd)(float *, float *, const float *, const float *, int64_t, float);
    void (*rms_bwd)(float *, const float *, const float *, float, const float *, int64_t);
    void (*swiglu_fwd)(float *, const float *, const float *, int64_t);
    void (*swiglu_bwd)(float *, float *, const float *, const float *, const float *, int64_t);
    void (*rms_weight)(float *, const float *, const float *, const float *, int64_t, int64_t, int64_t);
    void (*drop)(float *, const float *, const ll_drop_t *, int64_t, int64_t);
    void (*drop_da)(float *, const float *, const float *, const ll_drop_t *, float, int64_t, int64_t, int64_t, int64_t, int64_t);
    void (*drop_dx)(float *, const float *, const float *, const ll_drop_t *, float, int64_t, int64_t, int64_t);
    void (*rope)(float *, const float *, const float *, int64_t, int64_t, float);
    void (*adamw)(float *, float *, float *, const float *, int64_t, float, float, float, float, float, float, float, float);
} ll_set_t;

#define SET(S) {ll_gemm_work_##S, ll_gemm_##S, ll_skinny_##S, ll_gemv_##S, ll_attn_work_##S, ll_attn_fwd_##S, \
    ll_attn_bwd_##S, ll_softmax_##S, ll_rms_fwd_##S, ll_rms_bwd_##S, ll_swiglu_fwd_##S, ll_swiglu_bwd_##S,     \
    ll_rms_weight_##S, ll_drop_##S, ll_drop_da_##S, ll_drop_dx_##S, ll_rope_##S, ll_adamw_##S}
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
static void ll_gemm(int s, const ll_gemm_t *g, float *w) { ll_sets[s].gemm(g, w); }
static void ll_skinny(int s, float *c, int64_t ldc, const float *a, int64_t lda, int64_t m, const float *b, int64_t ldb, int64_t n, int64_t k) { ll_sets[s].skinny(c, ldc, a, lda, m, b, ldb, n, k); }
static void ll_gemv(int s, float *y, const float *x, const void *w, int32_t t, int64_t o, int64_t i) { ll_sets[s].gemv(y, x, w, t, o, i); }
static int64_t ll_attn_work(int s, int32_t d) { return ll_sets[s].attn_work(d); }
static void ll_attn(int s, int back, const ll_attn_t *a, float *w) { if (back) ll_sets[s].attn_bwd(a, w); else ll_sets[s].attn_fwd(a, w); }
static float ll_softmax(int s, float *r, int64_t n, int32_t t, float f, int32_t g, int32_t *b) { return ll_sets[s].softmax(r, n, t, f, g, b); }
static void ll_rms_fwd(int s, float *y, float *r, const float *x, const float *w, int64_t n, int64_t c, float e) { for (int64_t i = 0; i < n; i++) ll_sets[s].rms_fwd(y + i * c, r + i, x + i * c, w, c, e); }
static void ll_rms_bwd(int s, float *dx, const float *dy, const float *x, const float *r, const float *w, int64_t n, int64_t c) { for (int64_t i = 0; i < n; i++) ll_sets[s].rms_bwd(dx + i * c, dy + i * c, x + i * c, r[i], w, c); }
static void ll_swiglu_fwd(int s, float *h, const float *g, const float *u, int64_t n) { ll_sets[s].swiglu_fwd(h, g, u, n); }
static void ll_swiglu_bwd(int s, float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n) { ll_sets[s].swiglu_bwd(dg, du, dh, g, u, n); }
static void ll_rms_weight(int s, float *dw, const float *r, const float *dy, const float *x, int64_t n, int64_t c, int64_t w) { ll_sets[s].rms_weight(dw, r, dy, x, n, c, w); }
static void ll_drop(int s, float *y, const float *x, ll_drop_t d, int64_t n, int64_t c) { ll_sets[s].drop(y, x, &d, n, c); }
static void ll_drop_da(int s, float *da, const float *dxa, const float *x, ll_drop_t d, float scale, int64_t n, int64_t c, int64_t r, int64_t i, int64_t w) { ll_sets[s].drop_da(da, dxa, x, &d, scale, n, c, r, i, w); }
static void ll_drop_dx(int s, float *dx, const float *dxa, const float *a, ll_drop_t d, float scale, int64_t n, int64_t c, int64_t r) { ll_sets[s].drop_dx(dx, dxa, a, &d, scale, n, c, r); }
static void ll_rope(int s, float *d, const float *x, const float *cs, int64_t n, int64_t heads, int64_t dim, float sign) { for (int64_t i = 0; i < n; i++) ll_sets[s].rope(d + i * heads * dim, x + i * heads * dim, cs + i * dim, heads, dim, sign); }
static void ll_adamw(int s, float *w, float *m, float *v, const float *g, int64_t n, float gs, float dec, float r1, float b2, float r2, float st, float root, float eps) { ll_sets[s].adamw(w, m, v, g, n, gs, dec, r1, b2, r2, st, root, eps); }
*/
import "C"

import "unsafe"

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

type ptr = unsafe.Pointer

func f32(p ptr) *C.float { return (*C.float)(p) }

// Term is one product of a sum of products; see ll_term_t. Addresses are of C or mapped memory.
type Term struct {
	A        ptr
	ARS, ACS int
	Alpha    float32
	B        ptr
	BRS, BCS int
	BType    int // 0 float32, 1 bfloat16, 2 float16
	K        int
}

// GemmWork is how many floats of scratch Gemm wants.
func (s Set) GemmWork() int { return int(C.ll_gemm_work(C.int(s))) }

// Gemm computes rows [m0,m1) and columns [n0,n1) of c = cin + Σ terms + bias; at most two terms, bias nil is none.
func (s Set) Gemm(terms []Term, c ptr, ldc int, cin ptr, ldcin int, bias ptr, m0, m1, n0, n1 int, work ptr) {
	var t [2]C.ll_term_t
	for i, x := range terms {
		t[i] = C.ll_term_t{a: f32(x.A), ars: C.int64_t(x.ARS), acs: C.int64_t(x.ACS), alpha: C.float(x.Alpha),
			b: x.B, brs: C.int64_t(x.BRS), bcs: C.int64_t(x.BCS), btype: C.int32_t(x.BType), k: C.int64_t(x.K)}
	}
	g := C.ll_gemm_t{nterms: C.int32_t(len(terms)), c: f32(c), cin: f32(cin), bias: f32(bias), ldc: C.int64_t(ldc), ldcin: C.int64_t(ldcin),
		m0: C.int64_t(m0), m1: C.int64_t(m1), n0: C.int64_t(n0), n1: C.int64_t(n1)}
	s.gemm(&t, &g, work)
}

// gemm points g at its terms for the time of the call; both lie in C's memory while it runs.
func (s Set) gemm(t *[2]C.ll_term_t, g *C.ll_gemm_t, work ptr) {
	p := (*C.ll_term_t)(work) // the first bytes of the scratch hold the terms
	copy(unsafe.Slice(p, 2), t[:])
	g.terms = p
	C.ll_gemm(C.int(s), g, f32(unsafe.Add(work, 256)))
}

// Skinny is c[i][j] = Σ_k a[i][k]·b[j][k].
func (s Set) Skinny(c ptr, ldc int, a ptr, lda, m int, b ptr, ldb, n, k int) {
	C.ll_skinny(C.int(s), f32(c), C.int64_t(ldc), f32(a), C.int64_t(lda), C.int64_t(m), f32(b), C.int64_t(ldb), C.int64_t(n), C.int64_t(k))
}

// Gemv is y[o] = Σ_i w[o][i]·x[i].
func (s Set) Gemv(y, x, w ptr, btype, out, in int) {
	C.ll_gemv(C.int(s), f32(y), f32(x), w, C.int32_t(btype), C.int64_t(out), C.int64_t(in))
}

// Attn is one query head over one segment; see ll_attn_t.
type Attn struct {
	Q, K, V, O, DOut, Out, DQ, DK, DV, LSE, Delta ptr
	QS, KS, Q0, K0                                int
	Lo, Hi, QLo, QHi                              [2]int
	Window                                        int
	D                                             int
	Scale                                         float32
}

// AttnWork is how many floats of scratch attention wants.
func (s Set) AttnWork(d int) int { return int(C.ll_attn_work(C.int(s), C.int32_t(d))) }

// Attention runs the forward pass, or the backward pass.
func (s Set) Attention(a *Attn, back bool, work ptr) {
	c := C.ll_attn_t{q: f32(a.Q), k: f32(a.K), v: f32(a.V), o: f32(a.O), dout: f32(a.DOut), out: f32(a.Out), dq: f32(a.DQ),
		dk: f32(a.DK), dv: f32(a.DV), lse: f32(a.LSE), delta: f32(a.Delta),
		qs: C.int64_t(a.QS), ks: C.int64_t(a.KS), q0: C.int64_t(a.Q0), k0: C.int64_t(a.K0), window: C.int64_t(a.Window), d: C.int32_t(a.D), scale: C.float(a.Scale)}
	for i := range 2 {
		c.lo[i], c.hi[i], c.qlo[i], c.qhi[i] = C.int64_t(a.Lo[i]), C.int64_t(a.Hi[i]), C.int64_t(a.QLo[i]), C.int64_t(a.QHi[i])
	}
	b := C.int(0)
	if back {
		b = 1
	}
	C.ll_attn(C.int(s), b, &c, f32(work))
}

// Softmax is one row's loss; see ll_softmax.
func (s Set) Softmax(row ptr, n int, target int32, scale float32, grad bool, best *int32) float32 {
	return float32(C.ll_softmax(C.int(s), f32(row), C.int64_t(n), C.int32_t(target), C.float(scale), C.int32_t(cbool(grad)), (*C.int32_t)(best)))
}

// RMSForward norms n rows of c.
func (s Set) RMSForward(y, rstd, x, w ptr, n, c int, eps float32) {
	C.ll_rms_fwd(C.int(s), f32(y), f32(rstd), f32(x), f32(w), C.int64_t(n), C.int64_t(c), C.float(eps))
}

// RMSBackward adds to dx for n rows of c.
func (s Set) RMSBackward(dx, dy, x, rstd, w ptr, n, c int) {
	C.ll_rms_bwd(C.int(s), f32(dx), f32(dy), f32(x), f32(rstd), f32(w), C.int64_t(n), C.int64_t(c))
}

// SwiGLUForward is h = g·σ(g)·u over n elements.
func (s Set) SwiGLUForward(h, g, u ptr, n int) {
	C.ll_swiglu_fwd(C.int(s), f32(h), f32(g), f32(u), C.int64_t(n))
}

// SwiGLUBackward is its gradient over n elements.
func (s Set) SwiGLUBackward(dg, du, dh, g, u ptr, n int) {
	C.ll_swiglu_bwd(C.int(s), f32(dg), f32(du), f32(dh), f32(g), f32(u), C.int64_t(n))
}

// RMSWeight adds Σ_t rstd[t]·dy[t][i]·x[t][i] to dw for w adjacent channels of n tokens of c.
func (s Set) RMSWeight(dw, rstd, dy, x ptr, n, c, w int) {
	C.ll_rms_weight(C.int(s), f32(dw), f32(rstd), f32(dy), f32(x), C.int64_t(n), C.int64_t(c), C.int64_t(w))
}

// Drop is dropout: the token keys, the stream's salt, the least hash of a key and a channel that stays, and what is
// kept is multiplied by. See ops.DropKeep.
type Drop struct {
	Keys        ptr
	Salt, Bound uint64
	Factor      float32
}

func (d Drop) c() C.ll_drop_t {
	return C.ll_drop_t{keys: (*C.uint64_t)(d.Keys), salt: C.uint64_t(d.Salt), bound: C.uint64_t(d.Bound), factor: C.float(d.Factor)}
}

// Drop is y = drop(x) for n tokens of c channels.
func (s Set) Drop(y, x ptr, d Drop, n, c int) {
	C.ll_drop(C.int(s), f32(y), f32(x), d.c(), C.int64_t(n), C.int64_t(c))
}

// DropWidth is the most channels that DropDA takes at a time.
const DropWidth = 64

// DropDA adds scale·Σ_t dxa[t][k]·drop(x)[t][j] to da (r,c), for w channels from i of n tokens.
func (s Set) DropDA(da, dxa, x ptr, d Drop, scale float32, n, c, r, i, w int) {
	C.ll_drop_da(C.int(s), f32(da), f32(dxa), f32(x), d.c(), C.float(scale), C.int64_t(n), C.int64_t(c), C.int64_t(r), C.int64_t(i), C.int64_t(w))
}

// DropDX adds scale times the dropped row dxa[t]·A to dx, n tokens of c channels; A is (r,c).
func (s Set) DropDX(dx, dxa, a ptr, d Drop, scale float32, n, c, r int) {
	C.ll_drop_dx(C.int(s), f32(dx), f32(dxa), f32(a), d.c(), C.float(scale), C.int64_t(n), C.int64_t(c), C.int64_t(r))
}

// Rope turns n tokens' heads.
func (s Set) Rope(dst, src, cs ptr, n, heads, d int, sign float32) {
	C.ll_rope(C.int(s), f32(dst), f32(src), f32(cs), C.int64_t(n), C.int64_t(heads), C.int64_t(d), C.float(sign))
}

// AdamW updates n elements: decay is 1 - lr·wd, r1 1-β1, r2 1-β2, step lr/(1-β1^s), root 1/√(1-β2^s).
func (s Set) AdamW(w, m, v, g ptr, n int, gscale, decay, r1, b2, r2, step, root, eps float32) {
	C.ll_adamw(C.int(s), f32(w), f32(m), f32(v), f32(g), C.int64_t(n), C.float(gscale), C.float(decay), C.float(r1), C.float(b2), C.float(r2), C.float(step), C.float(root), C.float(eps))
}

func cbool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
