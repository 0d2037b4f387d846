// What the attention kernels share: which keys a block of queries needs, which queries a block of keys needs, and
// the row bounds of the masks inside a block. Positions are tokens along the sequence, as int (docs are int32);
// memory offsets are int64. A head class is plain (0) or shifted (1), see segments.h.
//
// Query q sees key k when lo(q) <= k <= q, with lo(q) the start of q's segment or window; which is k <= q < hi(k), with
// hi(k) the end of k's segment, or of what sees it in its window. Both bounds grow with their argument, so a block's
// first and last rows bound all of it. Nothing else here tells a window from a segment.
#ifndef LONGLORA_ATTN_TILE_CUH
#define LONGLORA_ATTN_TILE_CUH

#include "../ll_device.h"
#include "../sigmoid.cuh"
#include "../../segments.h"

// The kernels for compute capability 9.0 (wgmma and TMA); D is 64 or 128.
int ll_attn_fwd_sm90(const ll_device *d, cudaStream_t s, const ll_attn_args *a);
int ll_attn_bwd_sm90(const ll_device *d, cudaStream_t s, const ll_attn_args *a);
size_t ll_attn_bwd_sm90_work(const ll_attn_args *a);
// The portable ones: mma.sync, compute capability 8.0 and later, even D up to 256.
int ll_attn_fwd_mma(const ll_device *d, cudaStream_t s, const ll_attn_args *a);
int ll_attn_bwd_mma(const ll_device *d, cudaStream_t s, const ll_attn_args *a);
size_t ll_attn_bwd_mma_work(const ll_attn_args *a);

// Forward for one query, whose heads all see the same keys; head sizes are multiples of 8.
bool ll_attn_decodes(const ll_attn_args *a);
int ll_attn_decode(const ll_device *d, cudaStream_t s, const ll_attn_args *a);
size_t ll_attn_decode_work(const ll_device *d, const ll_attn_args *a);

// The half-open interval [lo, hi) of tokens.
struct ll_range {
    int lo, hi;
};

// The segment of token t, which lies in docs[0] .. docs[ndocs]-1: what ll_segment gives, in 32 bits, so that no
// 64-bit division stands in the kernels.
static __device__ __forceinline__ ll_range ll_seg(const ll_attn_args &a, int t, int shifted) {
    int i = 0, n = a.ndocs; // the last document that begins at or before t is in [i, n)
    while (n - i > 1) {
        int mid = (i + n) >> 1;
        if (a.docs[mid] <= t) i = mid;
        else n = mid;
    }
    const int d0 = a.docs[i], d1 = a.docs[i + 1];
    if (a.window) return {t - a.window >= d0 ? t - a.window + 1 : d0, a.window < d1 - t ? t + a.window : d1};
    if (a.mode == LL_FULL) return {d0, d1};
    const int group = a.group < INT32_MAX ? (int)a.group : INT32_MAX, half = shifted ? group / 2 : 0, p = t - d0;
    if (p < half) return {d0, half < d1 - d0 ? d0 + half : d1};
    const int lo = half + (p - half) / group * group;
    return {d0 + lo, group < d1 - d0 - lo ? d0 + lo + group : d1};
}

// lo(q): the first key that query q sees.
static __device__ inline int ll_lo(const ll_attn_args &a, int q, int shifted) { return ll_seg(a, q, shifted).lo; }

// hi(k): the query after the last one that sees key k; 0 for a key past the tile, which no query sees.
static __device__ inline int ll_hi(const ll_attn_args &a, int k, int shifted) {
    return k < a.q0 + a.t ? ll_seg(a, k, shifted).hi : 0;
}

// The keys that the queries [q0, q1) of one head class need. Blocks of keys begin at .lo exactly: rows of k and v
// before it may hold anything.
static __device__ inline ll_range ll_keys(const ll_attn_args &a, int q0, int q1, int shifted) {
    return {ll_lo(a, q0, shifted), q1};
}

// The first key that anything in the tile needs of key/value head j, whose query heads may be of both classes.
// Blocks of keys of the backward pass begin here.
static __device__ inline int ll_first_key(const ll_attn_args &a, int j) {
    int r = a.h / a.hkv, first = ll_shifted(j * r, a.h), last = ll_shifted(j * r + r - 1, a.h);
    int k = ll_lo(a, (int)a.q0, first);
    return first == last ? k : min(k, ll_lo(a, (int)a.q0, last));
}

// The tile's queries that see any of the keys [k0, k1), which begin at or after ll_first_key and before the tile's
// end; empty (hi <= lo) when there are none.
static __device__ inline ll_range ll_queries(const ll_attn_args &a, int k0, int k1, int shifted) {
    int begin = (int)a.q0, end = (int)(a.q0 + a.t);
    return {max(begin, k0), min(end, ll_seg(a, min(k1, end) - 1, shifted).hi)};
}

// Whether some query of [q0, q1) does not see some key of [k0, k1); lo is lo(q1-1). Blocks inside an aligned
// segment need no mask.
static __device__ inline bool ll_masked(int q0, int k0, int k1, int lo) { return k1 - 1 > q0 || k0 < lo; }

// A score is a product of query and key times `scale`, or with a cap, CAPPED, cap·tanh(product·scale/cap). Kernels hold
// it without its last factor, scale or cap, which is this; so what has no cap does nothing more.
template <bool CAPPED> static __device__ __forceinline__ float ll_unit(const ll_attn_args &a) {
    return CAPPED ? a.cap : a.scale;
}

// Products of queries and keys to scores without the last factor. Masks come after it.
template <bool CAPPED, int N> static __device__ __forceinline__ void ll_cap(float (&s)[N], const ll_attn_args &a) {
    if (!CAPPED) return;
    const float f = __fdividef(a.scale, a.cap);
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = ll_tanh(s[i] * f);
}

// The slope of the cap, 1 - tanh², where the probability is p = exp2(unit·tanh - lse), so that no score is kept for it;
// unit and lse are those for powers of two, by = 1/unit. 0 where p is.
static __device__ __forceinline__ float ll_slope(float p, float lse, float by) {
    float l;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(l) : "f"(p));
    const float y = fmaxf((l + lse) * by, -1.0f);
    return fmaf(-y, y, 1.0f);
}

#endif
