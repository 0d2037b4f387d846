// The C ABI of the CUDA kernels: all that Go knows of them. One launcher an operation, each enqueues on a
// stream and returns a status: 0, or a CUDA runtime error (cudaError_t). Formulas stand in package ops.
//
// Letters and layouts are those of package ops: T tokens of a tile, C width, H and Hkv heads, D head size,
// F MLP width, V vocabulary, R rank; row-major, token-major. "bf16" is an array of bfloat16, "dt" an LL_F32,
// LL_BF16 or LL_F16. Every operation gives the same bits for the same arguments.
#ifndef LONGLORA_H
#define LONGLORA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LL_F32 = 0, LL_BF16 = 1, LL_F16 = 2 };

typedef void *ll_stream; // a CUstream

// The text of a status.
const char *ll_status(int status);

// ---- memory -------------------------------------------------------------------------------------------

// Page-locked host memory, addressable by the device.
int ll_host_alloc(void **p, size_t bytes);
int ll_host_free(void *p);
// Page-locks memory that the caller has, and undoes it.
int ll_host_lock(void *p, size_t bytes);
int ll_host_unlock(void *p);
// Copies rows of width bytes between any two memories, pitches in bytes.
int ll_copy2d(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t rows, ll_stream s);
// dst[i] = src[i] over n elements, rounding to nearest even. dst and src of any of the three types.
int ll_convert(void *dst, int ddt, const void *src, int sdt, int64_t n, ll_stream s);

// dst[i] += src[i] over n elements, bf16
int ll_add(void *dst, const void *src, int64_t n, ll_stream s);
// The device's memory in bytes as the driver counts it, all processes together, without making a context.
// Not 0 where NVIDIA's management library is not there.
int ll_memory_outside(int device, size_t *free, size_t *total);

// ---- between the products -----------------------------------------------------------------------------

// y (T,C) bf16 = table[ids]; table (V,C) bf16, ids (T) int32
int ll_embed_fwd(void *y, const void *table, const int32_t *ids, int64_t t, int64_t c, ll_stream s);
// dtable (V,C) float32 += dy (T,C) bf16 by ids, in the order of t. work: ll_embed_bwd_work(t) bytes
size_t ll_embed_bwd_work(int64_t t);
int ll_embed_bwd(float *dtable, const void *dy, const int32_t *ids, int64_t t, int64_t c, int64_t v, void *work,
                 ll_stream s);
// y, x (T,C) bf16; rstd (T) float32; w (C) float32
int ll_rms_fwd(void *y, float *rstd, const void *x, const float *w, int64_t t, int64_t c, float eps, ll_stream s);
// dx (T,C) bf16 added to; dw (C) float32 added to, NULL when frozen. work: ll_rms_bwd_work(t, c) bytes
size_t ll_rms_bwd_work(int64_t t, int64_t c);
int ll_rms_bwd(void *dx, float *dw, const void *dy, const void *x, const float *rstd, const float *w, int64_t t,
               int64_t c, void *work, ll_stream s);
// cs (T,D) float32 = [cos·scale | sin·scale] of float32(pos·inv); sine and cosine as exact as the CPU's
int ll_rope_table(float *cs, const int32_t *pos, const float *inv, int64_t t, int64_t d, float scale, ll_stream s);
// dst (T,heads,D) bf16 or float32 from src, bf16 or float32; may be the same memory where the types are
int ll_rope(void *dst, int ddt, const void *src, int sdt, const float *cs, int64_t t, int64_t heads, int64_t d,
            int inverse, ll_stream s);
// db (C) float32 += the sum over the rows of dy (T,C) bf16. work: ll_bias_grad_work(t, c) bytes
size_t ll_bias_grad_work(int64_t t, int64_t c);
int ll_bias_grad(float *db, const void *dy, int64_t t, int64_t c, void *work, ll_stream s);
// h, g, u (n) bf16
int ll_swiglu_fwd(void *h, const void *g, const void *u, int64_t n, ll_stream s);
int ll_swiglu_bwd(void *dg, void *du, const void *dh, const void *g, const void *u, int64_t n, ll_stream s);
// dst (T,C) bf16 = drop(src): the factor of ops.DropKeep for (keys[t], stream, c), else 0
int ll_drop(void *dst, const void *src, const uint64_t *keys, uint64_t drop_stream, float p, int64_t t, int64_t c,
            ll_stream s);

// ---- attention ----------------------------------------------------------------------------------------

// One tile's segmented causal attention; see ops.Attention and segments.h. Query i of the tile is token q0+i,
// row j of k and v is token k0+j. Keys of a head class before the segment start of token q0 are never read.
typedef struct {
    const void *q, *k, *v;  // (T,H,D), (W,Hkv,D), (W,Hkv,D) bf16
    void *o;                // (T,H,D) bf16: written forward, read backward
    float *lse;             // (H,T): written forward, read backward
    const void *dout;       // (T,H,D) bf16
    void *dq;               // (T,H,D) bf16, written
    float *dk, *dv;         // (W,Hkv,D), added to; with fresh, rows from token q0 on are written
    float *delta;           // (H,T) scratch: sum over D of dout·o
    void *work;             // ll_attn_work bytes
    const int32_t *docs;    // (ndocs+1) on the device: boundaries along the sequence, docs[0] <= q0 < q0+t <= docs[ndocs]
    int32_t ndocs;
    int32_t h, hkv, d;
    int32_t mode;           // LL_FULL or LL_SPLIT of segments.h
    int32_t window;         // W of a sliding window, 0 without
    int64_t group, t, w, q0, k0;
    float scale;
    int32_t fresh;
} ll_attn_args;

size_t ll_attn_work(const ll_attn_args *a, int backward);
int ll_attn_fwd_cuda(const ll_attn_args *a, ll_stream s);
int ll_attn_bwd_cuda(const ll_attn_args *a, ll_stream s);
// For tests: the portable kernels even where Hopper's would be chosen.
void ll_attn_portable(int yes);

// ---- the ends of the step -----------------------------------------------------------------------------

// One row of logits (float32) a target: nll[r] = lse - logit[target], 0 where target < 0; best[r] (NULL: not
// wanted) the lowest index of the greatest. With grad the row is overwritten by scale·(softmax - onehot) as
// bf16, in its first half (so row r of the gradient begins at element 2·V·r of a bf16 array); zeros where target < 0.
int ll_softmax(float *logits, const int32_t *target, float *nll, int32_t *best, int64_t rows, int64_t v, float scale,
               int grad, ll_stream s);
// idx[r] = index of the greatest of a row of bf16 or float32 logits, the lowest of equals
int ll_argmax(int32_t *idx, const void *logits, int dt, int64_t rows, int64_t v, ll_stream s);
// out (1) float64 += sum of x, or of its squares, in float64 in a fixed order. work: ll_sum_work(n) bytes
size_t ll_sum_work(int64_t n);
int ll_sum(double *out, const float *x, int64_t n, int squares, void *work, ll_stream s);
// One AdamW update of n elements as ops.Optimizer defines it; copy (n) bf16 or NULL. keep = 1 - lr·weight decay, r1 = 1-b1,
// r2 = 1-b2, step_size = lr/(1-b1^s), root = sqrt(1-b2^s), each rounded once from float64.
int ll_adamw(float *w, float *m, float *v, const float *grad, void *copy, int64_t n, float grad_scale, float keep,
             float r1, float b2, float r2, float step_size, float root, float eps, ll_stream s);

// ---- products (cuBLASLt, opened at run time) ----------------------------------------------------------

// Opens cuBLASLt for the current context; path is a file, or a name for the dynamic linker to look for. On failure
// returns 1 and writes why to msg.
int ll_blas_open(const char *path, char *msg, size_t msg_len);
// Forgets every plan and the handle; the library stays loaded.
void ll_blas_close(void);
// cuBLASLt's version, 130100 for 13.1.0; 0 before it is open.
size_t ll_blas_version(void);
// D (m,n) = alpha · op(A) (m,k) · op(B) (k,n) + beta · C + bias in every row, row-major, float32 accumulation. a, b
// bf16; c, d, bias of type ddt (bf16 or float32); bias (n) or NULL; ld in elements between rows as stored. trans: the
// matrix is stored as (k,m), (n,k).
typedef struct {
    const void *a, *b, *c, *bias;
    void *d;
    int64_t m, n, k, lda, ldb, ldc, ldd;
    int32_t ta, tb, ddt;
    float alpha, beta;
} ll_gemm_args;
// Returns a CUDA runtime error, or LL_BLAS plus a cublasStatus_t.
enum { LL_BLAS = 100000 };
int ll_gemm(const ll_gemm_args *g, void *work, size_t work_bytes, ll_stream s);

#ifdef __cplusplus
}
#endif

#endif
