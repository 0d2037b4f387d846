// The C ABI of the CUDA kernels: all that Go knows of them. A launcher takes the device, a stream of it and a struct of
// arguments, enqueues, and returns a status: 0, or a CUDA runtime error (cudaError_t). Formulas stand in package ops.
//
// Letters and layouts are those of package ops: T tokens of a tile, C width, H and Hkv heads, D head size,
// F MLP width, V vocabulary, R rank; row-major, token-major. "bf16" is an array of bfloat16; a type is LL_F32,
// LL_BF16 or LL_F16. "work" is device memory that the caller lends, of as many bytes as the function beside says.
// Every operation gives the same bits for the same arguments.
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

// ---- the device ---------------------------------------------------------------------------------------

// What launchers know of a device, and what libraries keep there. Nothing is kept anywhere else, so devices do not
// see each other; one thread at a time uses one.
typedef struct ll_device ll_device;

// Opens the device whose context is current on this thread, and closes it; NULL may be closed.
int ll_device_open(ll_device **d);
void ll_device_close(ll_device *d);
// For tests: the portable kernels of attention even where Hopper's would be chosen.
void ll_device_portable(ll_device *d, int yes);
// Says that other kernels may hold some of the device's multiprocessors for long.
void ll_device_crowded(ll_device *d, int yes);
// A device's own name in the world, without making a context.
int ll_uuid(int index, unsigned char uuid[16]);
// A device's memory in bytes as the driver counts it, all processes together, without making a context.
// Not 0 where NVIDIA's management library is not there.
int ll_memory_outside(int index, size_t *free, size_t *total);

// Page-locked host memory, addressable by every device.
int ll_host_alloc(void **p, size_t bytes);
int ll_host_free(void *p);
// Page-locks memory that the caller has, and undoes it.
int ll_host_lock(void *p, size_t bytes);
int ll_host_unlock(void *p);

// Whether a device can read another's memory.
int ll_can_read(int index, int other, int *yes);
// Device memory, a whole allocation, as other processes of the machine find it, map it into the current device's
// addresses, and end that. Who owns it may free it when nobody has it mapped any more.
enum { LL_EXPORTED = 64 };
int ll_export(void *p, char where[LL_EXPORTED]);
int ll_import(const char where[LL_EXPORTED], void **p);
int ll_unimport(void *p);

// ---- transfer -----------------------------------------------------------------------------------------

// Copies rows of width bytes between any two memories, pitches in bytes.
typedef struct {
    void *dst;
    const void *src;
    size_t dpitch, spitch, width, rows;
} ll_copy_args;
int ll_copy(ll_device *d, ll_stream s, const ll_copy_args *a);

// dst += src over rows of cols elements, pitches in elements.
typedef struct {
    float *dst;
    const float *src;
    int64_t dpitch, spitch, rows, cols;
} ll_add_rows_args;
int ll_add_rows(ll_device *d, ll_stream s, const ll_add_rows_args *a);

// dst[i] = src[i] over n elements of types ddt and sdt, rounding to nearest even.
typedef struct {
    void *dst;
    const void *src;
    int32_t ddt, sdt;
    int64_t n;
} ll_convert_args;
int ll_convert(ll_device *d, ll_stream s, const ll_convert_args *a);

// ---- between the products -----------------------------------------------------------------------------

typedef struct {
    void *y;            // (T,C) bf16, written: table[ids], NaN where an id is no row
    const void *table;  // (V,C) bf16
    const int32_t *ids; // (T)
    int64_t t, c, v;
} ll_embed_fwd_args;
int ll_embed_fwd(ll_device *d, ll_stream s, const ll_embed_fwd_args *a);

typedef struct {
    // (V,C), added to: dy by ids, in the order of t; an id that is no row is left out. Page-locked host memory too.
    float *dtable;
    const void *dy;     // (T,C) bf16
    const int32_t *ids; // (T)
    int64_t t, c, v;
    void *work;
} ll_embed_bwd_args;
size_t ll_embed_bwd_work(int64_t t);
int ll_embed_bwd(ll_device *d, ll_stream s, const ll_embed_bwd_args *a);

// Rows r of which bit first+r of the set is 1, from or to page-locked host memory too.
typedef struct {
    float *dst;       // (rows,c)
    const float *src; // (rows,c)
    const uint64_t *set;
    int64_t first, rows, c;
} ll_copy_set_args;
int ll_copy_set(ll_device *d, ll_stream s, const ll_copy_set_args *a);

typedef struct {
    void *y;        // (T,C) bf16, written
    float *rstd;    // (T), written
    const void *x;  // (T,C) bf16
    const float *w; // (C)
    int64_t t, c;
    float plus, eps; // the factor of a channel is plus + w
} ll_rms_fwd_args;
int ll_rms_fwd(ll_device *d, ll_stream s, const ll_rms_fwd_args *a);

typedef struct {
    void *dx;                // (T,C) bf16, added to
    float *dw;               // (C), added to; NULL when frozen
    const void *dy, *x;      // (T,C) bf16
    const float *rstd, *w;   // (T), (C)
    int64_t t, c;
    float plus;
    void *work;              // wanted with dw
} ll_rms_bwd_args;
size_t ll_rms_bwd_work(int64_t t, int64_t c);
int ll_rms_bwd(ll_device *d, ll_stream s, const ll_rms_bwd_args *a);

typedef struct {
    void *y;               // (T,C) bf16, written
    float *stat;           // (T,2), written: mean and 1/deviation
    const void *x;         // (T,C) bf16
    const float *w, *bias; // (C)
    int64_t t, c;
    float eps;
} ll_layernorm_fwd_args;
int ll_layernorm_fwd(ll_device *d, ll_stream s, const ll_layernorm_fwd_args *a);

typedef struct {
    void *dx;              // (T,C) bf16, added to
    float *dw, *dbias;     // (C), added to; NULL when frozen
    const void *dy, *x;    // (T,C) bf16
    const float *stat, *w; // (T,2), (C)
    int64_t t, c;
    void *work;            // wanted with dw or dbias
} ll_layernorm_bwd_args;
size_t ll_layernorm_bwd_work(int64_t t, int64_t c);
int ll_layernorm_bwd(ll_device *d, ll_stream s, const ll_layernorm_bwd_args *a);

typedef struct {
    float *cs;          // (T,D), written: [cos·scale | sin·scale] of float32(pos·inv), as exact as the CPU's
    const int32_t *pos; // (T)
    const float *inv;   // (D/2)
    int64_t t, d;
    float scale;
} ll_rope_table_args;
int ll_rope_table(ll_device *d, ll_stream s, const ll_rope_table_args *a);

typedef struct {
    void *dst;          // (T,heads,D) of type ddt, bf16 or float32; may be src where the types are one
    const void *src;    // (T,heads,D) of type sdt, bf16 or float32
    const float *cs;    // (T,R), R = r ≤ D channels of a head are turned, the others copied
    int32_t ddt, sdt;
    int64_t t, heads, d, r;
    int32_t inverse;
} ll_rope_args;
int ll_rope(ll_device *d, ll_stream s, const ll_rope_args *a);

typedef struct {
    void *h;           // (n) bf16, written
    const void *g, *u; // (n) bf16
    int64_t n;
} ll_swiglu_fwd_args;
int ll_swiglu_fwd(ll_device *d, ll_stream s, const ll_swiglu_fwd_args *a);

typedef struct {
    void *dg, *du;          // (n) bf16, written; may be g, u
    const void *dh, *g, *u; // (n) bf16
    int64_t n;
} ll_swiglu_bwd_args;
int ll_swiglu_bwd(ll_device *d, ll_stream s, const ll_swiglu_bwd_args *a);

typedef struct {
    void *h;           // (n) bf16, written
    const void *g, *u; // (n) bf16; u NULL counts as 1
    int64_t n;
    int32_t tanh;      // by tanh, not exact
} ll_gelu_fwd_args;
int ll_gelu_fwd(ll_device *d, ll_stream s, const ll_gelu_fwd_args *a);

typedef struct {
    void *dg, *du;          // (n) bf16, written; may be g, u; du NULL where u is
    const void *dh, *g, *u; // (n) bf16
    int64_t n;
    int32_t tanh;
} ll_gelu_bwd_args;
int ll_gelu_bwd(ll_device *d, ll_stream s, const ll_gelu_bwd_args *a);

// y = res + f·x over n elements, or f·x where res is null; y may be res or x.
typedef struct {
    void *y;              // bf16, written
    const void *res, *x;  // bf16
    float f;
    int64_t n;
} ll_scale_args;
int ll_scale(ll_device *d, ll_stream s, const ll_scale_args *a);

// ---- attention ----------------------------------------------------------------------------------------

// One tile's segmented causal attention; see ops.Attention and segments.h. Query i of the tile is token q0+i,
// row j of k and v is token k0+j. Keys of a head class before the segment start of token q0 are never read.
typedef struct {
    const void *q, *k, *v;  // (T,H,D), (W,Hkv,D), (W,Hkv,D) bf16
    void *o;                // (T,H,D) bf16: written forward, read backward
    float *lse;             // (H,T): written forward, read backward
    const void *dout;       // (T,H,D) bf16
    void *dq;               // (T,H,D) bf16, written
    void *dk, *dv;          // (W,Hkv,D) float32, added to; with fresh, rows from token q0 on are written
    const float *turn;      // (T,R) cosines and sines by which dq and, where all, dk are turned back, or NULL
    float *delta;           // (H,T) scratch: sum over D of dout·o
    void *work;             // of either pass, where it wants some
    const int32_t *docs; // (ndocs+1) on the device: boundaries along the sequence, docs[0] <= q0 < q0+t <= docs[ndocs]
    int32_t ndocs;
    int32_t h, hkv, d;
    int32_t mode;           // LL_FULL or LL_SPLIT of segments.h
    int32_t window;         // W of a sliding window, 0 without
    int64_t group, t, w, q0, k0;
    float scale;
    float cap;              // scores x become cap·tanh(x/cap); 0: they stay
    int32_t fresh;
    int32_t all;            // q0 = k0: dk and dv (T,Hkv,D) are bf16 and written
    int32_t r;              // of turn, <= d
} ll_attn_args;

size_t ll_attn_fwd_work(const ll_device *d, const ll_attn_args *a);
// The same for every device, so that a plan can be made without one.
size_t ll_attn_bwd_work(const ll_attn_args *a);
int ll_attn_fwd(ll_device *d, ll_stream s, const ll_attn_args *a);
int ll_attn_bwd(ll_device *d, ll_stream s, const ll_attn_args *a);

// ---- the ends of the step -----------------------------------------------------------------------------

// One row of logits a target; with a cap above 0 a logit z counts as cap·tanh(z/cap). With grad the row becomes
// scale·(softmax - onehot), times the cap's slope, as bf16 in its first half (so row r of the gradient begins at
// element 2·V·r of a bf16 array); zeros where target < 0.
typedef struct {
    float *logits;         // (rows,V)
    const int32_t *target; // (rows)
    float *nll;            // (rows), written: lse - logit[target], 0 where target < 0
    int32_t *best;         // (rows), written: the lowest index of the greatest; NULL: not wanted
    int64_t rows, v;
    float scale, cap;
    int32_t grad;
} ll_softmax_args;
int ll_softmax(ll_device *d, ll_stream s, const ll_softmax_args *a);

typedef struct {
    int32_t *idx;       // (rows), written: index of the greatest of a row, the lowest of equals
    const void *logits; // (rows,V) of type dt, bf16 or float32
    int32_t dt;
    int64_t rows, v;
} ll_argmax_args;
int ll_argmax(ll_device *d, ll_stream s, const ll_argmax_args *a);

typedef struct {
    double *out;    // (1), added to: the sum of x, or of its squares, in float64 in a fixed order
    const float *x; // (n)
    int64_t n;
    int32_t squares;
    void *work;
} ll_sum_args;
size_t ll_sum_work(int64_t n);
int ll_sum(ll_device *d, ll_stream s, const ll_sum_args *a);

// One AdamW update of n elements as ops.Optimizer defines it; each factor is rounded once from float64.
typedef struct {
    float *w, *m, *v;  // (n), updated
    const float *grad; // (n)
    void *copy;        // (n) bf16, written: w; or NULL
    int64_t n;
    float grad_scale;
    float keep;        // 1 - lr·weight decay
    float r1, b2, r2;  // 1-b1, b2, 1-b2
    float step_size;   // lr/(1-b1^s)
    float root;        // sqrt(1-b2^s)
    float eps;
} ll_adamw_args;
int ll_adamw(ll_device *d, ll_stream s, const ll_adamw_args *a);

// ---- linear layers ------------------------------------------------------------------------------------

// Opens cuBLASLt for the device; path is a file, or a name for the dynamic linker to look for. On failure returns 1 and
// writes why to msg.
int ll_blas_open(ll_device *d, const char *path, char *msg, size_t msg_len);
// cuBLASLt's version, 130100 for 13.1.0; 0 before it is open.
size_t ll_blas_version(const ll_device *d);

// D (m,n) = alpha · op(A) (m,k) · op(B) (k,n) + beta · C + bias in every row, row-major, float32 accumulation. With
// scales A and B are e4m3fn, A stored as (m,k), B as (n,k), D is bf16, and element (i,j) of the product of A and B is
// multiplied by sa[i]·sb[j].
typedef struct {
    const void *a, *b; // bf16; ta, tb: stored as (k,m), (n,k)
    const float *sa, *sb; // (m), (n), or NULL both
    const void *c;     // of type ddt
    const void *bias;  // (n) of type ddt, or NULL
    void *d;           // of type ddt, bf16 or float32
    int64_t m, n, k;
    int64_t lda, ldb, ldc, ldd; // elements between rows as stored
    int32_t ta, tb, ddt;
    int32_t fast;      // with scales: sums as the tensor cores have them, not in float32
    float alpha, beta;
    void *work;
    size_t work_bytes; // what is lent; more may be quicker
} ll_gemm_args;
// Returns a CUDA runtime error, or LL_BLAS plus a cublasStatus_t.
enum { LL_BLAS = 100000 };
int ll_gemm(ll_device *d, ll_stream s, const ll_gemm_args *a);
// Whether the library has an algorithm for such a product: 0, or what ll_gemm would return.
int ll_gemm_can(ll_device *d, const ll_gemm_args *a);

// One row's products with matrices that it is the input of, read as fast as memory gives them:
// y = scale·W·x + c + bias, float32 sums. in is a multiple of 8, x and W are on 16 bytes.
typedef struct {
    const void *w;    // (out,in) bf16
    const void *c;    // (out) bf16 or NULL; may be y
    const void *bias; // (out) bf16 or NULL
    void *y;          // (out) bf16, written
    int64_t out;
} ll_row_layer;
enum { LL_ROW = 4 };
typedef struct {
    const void *x; // (in) bf16
    ll_row_layer layer[LL_ROW];
    int32_t n;     // of them
    int32_t frozen; // W is not written by what is enqueued: it is read while what makes x still runs
    float scale;
    int64_t in;
} ll_row_args;
int ll_row(ll_device *d, ll_stream s, const ll_row_args *a);

// ---- LoRA's narrow products: ops/cuda/narrow.go --------------------------------------------------------

// A factor of r columns, a multiple of 8: y = scale·x·p and g += scale·xᵀ·s. Addresses are on 16 bytes, distances
// between rows multiples of 8.
typedef struct {
    const void *p;    // (C,R) bf16, or (R,C) where wide
    void *y;          // (T,R) bf16, written, ldy elements between rows
    const void *s;    // (T,R) bf16, lds elements between rows
    float *g;         // as p, added to
    int64_t r, ldy, lds;
} ll_narrow_factor;
enum { LL_NARROW = 4 }; // factors, of 32 columns together

typedef struct {
    const void *x;    // (T,C) bf16, C a multiple of 8
    ll_narrow_factor factor[LL_NARROW]; // of all either p and y, or s and g, or all four
    int32_t n, wide;
    float scale;
    int64_t t, c;
    void *work;
} ll_narrow_args;
size_t ll_narrow_work(const ll_device *d, int64_t t, int64_t c, int64_t r); // r: of all factors
int ll_narrow(ll_device *d, ll_stream s, const ll_narrow_args *a);

// ---- weights in NF4: ops/cuda/nf4.go --------------------------------------------------------------------

typedef struct {
    void *dst;              // (rows,cols) bf16, written: columns from c0 on of rows from row0 on
    const void *codes;      // of a matrix with ld elements a row, row-major, two a byte
    const float *table;     // (16)
    const void *absmax;     // by block of elements: float32, or bytes where they are nested
    const float *nested_map, *nested_absmax; // (256); by block of blocks; NULL where they are not
    int64_t block, nested;  // elements of a block; blocks of a block of factors, 0 where they are float32
    float offset;
    int32_t type;           // that values are rounded to
    int64_t row0, c0, ld, rows, cols;
} ll_nf4_widen_args;
int ll_nf4_widen(ll_device *d, ll_stream s, const ll_nf4_widen_args *a);

// ---- weights in FP8: ops/cuda/fp8.go --------------------------------------------------------------------

typedef struct {
    void *dst;           // (rows,cols) bf16, written
    const void *src;     // (rows,cols) e4m3fn, ld bytes between rows
    const float *factor; // (rows)
    int64_t ld, rows, cols;
} ll_fp8_widen_args;
int ll_fp8_widen(ll_device *d, ll_stream s, const ll_fp8_widen_args *a);

typedef struct {
    void *dst;           // (rows,cols) e4m3fn, written
    float *scale;        // (rows), written
    const void *src;     // (rows,cols) bf16
    const float *factor; // (cols), multiplied in before, or NULL
    int64_t rows, cols;
} ll_fp8_narrow_args;
int ll_fp8_narrow(ll_device *d, ll_stream s, const ll_fp8_narrow_args *a);

// h = g·σ(g)·u as e4m3fn. cols is a multiple of 8, at most 32,768, and pointers are on 16 bytes.
typedef struct {
    void *dst;          // (rows,cols) e4m3fn, ld bytes between rows, written; may be g or u where ld is 2·cols
    float *scale;       // (rows), written
    const void *g, *u;  // (rows,cols) bf16
    int64_t ld, rows, cols;
} ll_fp8_swiglu_args;
int ll_fp8_swiglu(ll_device *d, ll_stream s, const ll_fp8_swiglu_args *a);

// The gradients of g and u as e4m3fn, as above.
typedef struct {
    void *g, *u;         // (rows,cols) bf16; their gradients, times fg and fu, in the first half of each row
    float *sg, *su;      // (rows), written: their scales
    const void *dh;      // (rows,cols) bf16
    const float *fg, *fu; // (cols)
    int64_t rows, cols;
} ll_fp8_swiglu_grad_args;
int ll_fp8_swiglu_grad(ll_device *d, ll_stream s, const ll_fp8_swiglu_grad_args *a);

typedef struct {
    void *dst;       // (cols,rows), written
    float *ones;     // (cols), written: 1
    const void *src; // (rows,cols) bytes, ld between rows; ld, rows and cols are multiples of 4
    int64_t ld, rows, cols;
} ll_fp8_turn_args;
int ll_fp8_turn(ll_device *d, ll_stream s, const ll_fp8_turn_args *a);

typedef struct {
    float *db;      // (C), added to: the sum over the rows of dy
    const void *dy; // (T,C) bf16
    int64_t t, c;
    void *work;
} ll_bias_grad_args;
size_t ll_bias_grad_work(int64_t t, int64_t c);
int ll_bias_grad(ll_device *d, ll_stream s, const ll_bias_grad_args *a);

typedef struct {
    void *dst;       // (n) bf16, added to
    const void *src; // (n) bf16
    int64_t n;
} ll_add_args;
int ll_add(ll_device *d, ll_stream s, const ll_add_args *a);

typedef struct {
    void *dst;            // (T,C) bf16, written: src times the factor of ops.DropKeep for (keys[t], stream, c), else 0
    const void *src;      // (T,C) bf16; may be dst
    const uint64_t *keys; // (T)
    uint64_t stream;
    float p;
    int64_t t, c;
} ll_drop_args;
int ll_drop(ll_device *d, ll_stream s, const ll_drop_args *a);

// NCCL, by which the cards of several processes add up. What it returns is its own: 0, or ll_nccl_text's text.
typedef struct ll_nccl ll_nccl;
enum { LL_NCCL_ID = 128 }; // bytes of what a group is known by
// Opens the library; a text in msg where that fails.
int ll_nccl_open(ll_nccl **n, const char *path, char *msg, size_t msg_len);
ll_nccl *ll_nccl_another(const ll_nccl *n); // of one library, for another group; to be closed too
void ll_nccl_close(ll_nccl *n, int aborted);
int ll_nccl_version(const ll_nccl *n); // 23007 for 2.30.7
const char *ll_nccl_text(const ll_nccl *n, int result);
const char *ll_nccl_last(const ll_nccl *n); // what it said last of an error
int ll_nccl_id(const ll_nccl *n, char *id); // a new group's
// Joins a group as one of size ranks; returns when all have. The device is the thread's.
int ll_nccl_join(ll_nccl *n, const char *id, int rank, int size);
// x (count) float32: the sum of all ranks' x
int ll_nccl_sum(ll_nccl *n, ll_stream s, float *x, int64_t count);
// sends bytes to a rank that takes as many, and takes what a rank gives
int ll_nccl_give(ll_nccl *n, ll_stream s, const void *x, int64_t bytes, int peer);
int ll_nccl_take(ll_nccl *n, ll_stream s, void *x, int64_t bytes, int peer);
int ll_nccl_fault(ll_nccl *n); // of what was enqueued
// Ends what is enqueued and cannot end; may be called while another thread waits for the stream.
void ll_nccl_abort(ll_nccl *n);

#ifdef __cplusplus
}
#endif

#endif
