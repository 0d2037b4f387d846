// The CPU kernels' interface. Each function exists once for every instruction set (suffix _avx512, _avx2,
// _plain); the Go side picks one set at start. All tensors are float32 and row-major unless said otherwise.
#ifndef LONGLORA_KERNELS_H
#define LONGLORA_KERNELS_H

#include <stdint.h>

enum { LL_F32 = 0, LL_BF16 = 1, LL_F16 = 2, LL_NF4 = 3, LL_FP8 = 4 };

// A matrix of any format: elements of a type one after the other, or NF4 codes, of which element 2j is the high half of
// byte j. An NF4 element is map[code]·factor rounded to the type `values`; its block's factor is absmax[block] or,
// nested, nested_map[absmax[block]]·nested_absmax[block/nested] + offset. An FP8 element is an e4m3fn float times its
// row's factor absmax[row], `block` being a row's length. Floats may lie anywhere, as in a file.
typedef struct {
    const void *p;
    int32_t type;                                 // LL_F32 and so on
    int32_t values;                               // from here on of codes
    int64_t block, nested;                        // nested 0: absmax are floats
    const uint8_t *map_, *absmax, *nested_map, *nested_absmax;
    float offset;
} ll_matrix_t;

// Long loops look at a word now and then, and end with nothing of use once it is not 0; no word is never.
static inline int ll_stopped(const uint32_t *stop) { return stop && __atomic_load_n(stop, __ATOMIC_RELAXED); }

// One product of a sum of products: A (m,k) as a[i*ars + k*acs], times B (k,n).
typedef struct {
    const float *a;
    int64_t ars, acs;
    float alpha;       // of this term
    ll_matrix_t b;     // (k,j) is element k*brs + j*bcs; one of brs, bcs is 1
    int64_t brs, bcs;
    int64_t k;
} ll_term_t;

// C[m0..m1, n0..n1) = cin + sum of terms + bias in every row; cin NULL is zero, and may be c itself; bias NULL is none.
typedef struct {
    const ll_term_t *terms;
    int32_t nterms;
    float *c;
    const float *cin, *bias;
    int64_t ldc, ldcin;
    int64_t m0, m1, n0, n1;
    const uint32_t *stop;
} ll_gemm_t;

// Attention of one key/value head's query heads over one segment: see ops.Attention. Tokens are rows; the
// strides are in elements between tokens. Piece 0 is [lo,hi); under roll, piece 1 follows it in causal order. With a
// sliding window piece 0 is the document, and query q sees of it the keys from q-window+1 on.
typedef struct {
    const float *q, *k, *v, *o, *dout;
    float *out, *dq, *dk, *dv, *lse, *delta;
    int64_t qs, ks;          // token strides of q/o/dq and of k/v/dk/dv
    int64_t q0, k0;          // token index of row 0 of q and of k
    int64_t lo[2], hi[2];    // pieces of the segment, token indices; an empty second piece when there is none
    int64_t qlo[2], qhi[2];  // the queries that are wanted, within the pieces
    int64_t window;          // 0 without
    int32_t d;
    float scale, cap;        // cap 0: scores are not capped
    const uint32_t *stop;
} ll_attn_t;

// Dropout: the token keys, the stream's salt, the least hash that stays, and what is kept is multiplied by.
typedef struct {
    const uint64_t *keys;
    uint64_t salt, bound;
    float factor;
} ll_drop_t;

// c[i][j] = Σ_p a[i][p]·b[j][p] for few columns: a (m,k), b (n,k), rows ld elements apart.
typedef struct {
    float *c;
    const float *a, *b;
    int64_t ldc, lda, ldb;
    int64_t m, n, k;
} ll_skinny_t;

// The loss of one row of n logits; with grad, scale·(softmax - onehot(target)) in place. best, when wanted, is the
// lowest index of the largest logit.
typedef struct {
    float *row;
    int64_t n;
    int32_t target; // negative: none
    float scale, cap;
    int32_t grad;
} ll_softmax_t;

// RMSNorm of n rows of c, plus being added to w. Forward: x, w to y, rstd. Backward: dy, x, rstd, w to dx, which is
// added to.
typedef struct {
    float *y, *rstd, *dx;
    const float *x, *w, *dy;
    int64_t n, c;
    float plus, eps;
} ll_rms_t;

// LayerNorm of n rows of c. Forward: x, w, bias to y and stat, mean and 1/deviation of each row. Backward: dy, x, stat,
// w to dx, dw, dbias, which are added to.
typedef struct {
    float *y, *stat, *dx, *dw, *dbias;
    const float *x, *w, *bias, *dy;
    int64_t n, c;
    float eps;
} ll_layernorm_t;

// h = gelu(g)·u over n elements, u null for 1; backward h is the gradient, dg and du receive theirs.
typedef struct {
    float *h, *dg, *du;
    const float *g, *u;
    int64_t n;
    int32_t tanh;
} ll_gelu_t;

// The dropped products of LoRA, n tokens of c channels, r the rank: see drop_da and drop_dx.
typedef struct {
    const ll_drop_t *drop;
    float *da, *dx;
    const float *dxa, *x, *a;
    float scale;
    int64_t n, c, r, i, w;
} ll_drop_grad_t;

// n tokens' heads of size d, the first r channels turned; cs holds r/2 cosines and r/2 sines a token, sign is -1 for
// the way back.
typedef struct {
    float *dst;
    const float *src, *cs;
    int64_t n, heads, d, r;
    float sign;
} ll_rope_t;

// One AdamW update of n elements.
typedef struct {
    float *w, *m, *v;
    const float *g;
    int64_t n;
    float gscale, decay, r1, b2, r2, step, root, eps;
} ll_adamw_t;

#define LL_KERNELS(S)                                                                                         \
    int64_t ll_gemm_work_##S(void);                                                                           \
    void ll_gemm_##S(const ll_gemm_t *a, float *work);                                                        \
    void ll_skinny_##S(const ll_skinny_t *a);                                                                 \
    void ll_gemv_##S(float *y, const float *x, const ll_matrix_t *w, int64_t first, int64_t out, int64_t in);  \
    int64_t ll_attn_work_##S(int32_t d);                                                                      \
    void ll_attn_fwd_##S(const ll_attn_t *a, float *work);                                                    \
    void ll_attn_bwd_##S(const ll_attn_t *a, float *work);                                                    \
    float ll_softmax_##S(const ll_softmax_t *a, int32_t *best);                                               \
    void ll_rms_fwd_##S(const ll_rms_t *a);                                                                   \
    void ll_rms_bwd_##S(const ll_rms_t *a);                                                                   \
    void ll_rms_weight_##S(float *dw, const ll_rms_t *a, int64_t w);                                          \
    void ll_swiglu_fwd_##S(float *h, const float *g, const float *u, int64_t n);                              \
    void ll_swiglu_bwd_##S(float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n); \
    void ll_layernorm_fwd_##S(const ll_layernorm_t *a);                                                       \
    void ll_layernorm_bwd_##S(const ll_layernorm_t *a);                                                       \
    void ll_layernorm_weight_##S(const ll_layernorm_t *a, int64_t w);                                         \
    void ll_gelu_fwd_##S(const ll_gelu_t *a);                                                                 \
    void ll_gelu_bwd_##S(const ll_gelu_t *a);                                                                 \
    void ll_scale_##S(float *y, const float *res, const float *x, float f, int64_t n);                        \
    void ll_drop_##S(float *y, const float *x, const ll_drop_t *d, int64_t n, int64_t c);                     \
    void ll_drop_da_##S(const ll_drop_grad_t *a);                                                             \
    void ll_drop_dx_##S(const ll_drop_grad_t *a);                                                             \
    void ll_rope_##S(const ll_rope_t *a);                                                                     \
    void ll_adamw_##S(const ll_adamw_t *a);

LL_KERNELS(avx512)
LL_KERNELS(avx2)
LL_KERNELS(plain)

#endif
