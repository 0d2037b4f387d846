// The CPU kernels' interface. Each function exists once for every instruction set (suffix _avx512, _avx2,
// _plain); the Go side picks one set at start. All tensors are float32 and row-major unless said otherwise.
#ifndef LONGLORA_KERNELS_H
#define LONGLORA_KERNELS_H

#include <stdint.h>

enum { LL_F32 = 0, LL_BF16 = 1, LL_F16 = 2 };

// One product of a sum of products: A (m,k) as a[i*ars + k*acs], times B (k,n).
typedef struct {
    const float *a;
    int64_t ars, acs;
    float alpha;       // of this term
    const void *b;     // element (k,j) at b[k*brs + j*bcs]; one of brs, bcs is 1
    int64_t brs, bcs;
    int32_t btype;     // LL_F32, LL_BF16 or LL_F16
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
    float scale;
} ll_attn_t;

// Dropout: the token keys, the stream's salt, the least hash that stays, and what is kept is multiplied by.
typedef struct {
    const uint64_t *keys;
    uint64_t salt, bound;
    float factor;
} ll_drop_t;

#define LL_KERNELS(S)                                                                                       \
    int64_t ll_gemm_work_##S(void);                                                                         \
    void ll_gemm_##S(const ll_gemm_t *g, float *work);                                                      \
    void ll_skinny_##S(float *c, int64_t ldc, const float *a, int64_t lda, int64_t m, const float *b,      \
                       int64_t ldb, int64_t n, int64_t k);                                                  \
    void ll_gemv_##S(float *y, const float *x, const void *w, int32_t type, int64_t out, int64_t in);      \
    int64_t ll_attn_work_##S(int32_t d);                                                                    \
    void ll_attn_fwd_##S(const ll_attn_t *a, float *work);                                                  \
    void ll_attn_bwd_##S(const ll_attn_t *a, float *work);                                                  \
    float ll_softmax_##S(float *row, int64_t n, int32_t target, float scale, int32_t grad, int32_t *best); \
    void ll_rms_fwd_##S(float *y, float *rstd, const float *x, const float *w, int64_t c, float eps);      \
    void ll_rms_bwd_##S(float *dx, const float *dy, const float *x, float rstd, const float *w, int64_t c); \
    void ll_swiglu_fwd_##S(float *h, const float *g, const float *u, int64_t n);                            \
    void ll_swiglu_bwd_##S(float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n); \
    void ll_rms_weight_##S(float *dw, const float *r, const float *dy, const float *x, int64_t n, int64_t c, int64_t w); \
    void ll_drop_##S(float *y, const float *x, const ll_drop_t *d, int64_t n, int64_t c);                   \
    void ll_drop_da_##S(float *da, const float *dxa, const float *x, const ll_drop_t *d, float scale, int64_t n, \
                        int64_t c, int64_t r, int64_t i, int64_t w);                                        \
    void ll_drop_dx_##S(float *dx, const float *dxa, const float *a, const ll_drop_t *d, float scale, int64_t n, \
                        int64_t c, int64_t r);                                                              \
    void ll_rope_##S(float *dst, const float *src, const float *cs, int64_t heads, int64_t d, float sign); \
    void ll_adamw_##S(float *w, float *m, float *v, const float *g, int64_t n, float gscale, float decay,  \
                      float r1, float b2, float r2, float step, float root, float eps);

LL_KERNELS(avx512)
LL_KERNELS(avx2)
LL_KERNELS(plain)

#endif
