// RMSNorm, forward and backward: ops.RMSNorm (arXiv 1910.07467, eq. 4).
//
// Wide rows lie in blocks as norm.cuh has it. Narrow ones, of up to 256 elements as the heads of a layer's queries and
// keys are, would leave most of a block idle: there a row has as many lanes of a warp as it has groups, rounded up to a
// power of two, and a block takes as many rows at once as it has room for.
#include "norm.cuh"

namespace ll {

constexpr int ROWS_THREADS = 256; // of a block of narrow rows
constexpr int ROWS_BLOCKS = 4;    // of them on each multiprocessor, where dw is wanted

template <bool VEC, int N>
__global__ void __launch_bounds__(NORM_THREADS)
rms_fwd_kernel(bf16 *y, float *rstd, const bf16 *x, const float *w, int c, float plus, float eps) {
    __shared__ float shared[WARP];
    ll_next();
    int64_t row = (int64_t)blockIdx.x * c;
    float v[N][GROUP], s = 0;
    load_groups<VEC>(v, x + row, c);
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
        for (int e = 0; e < GROUP; e++) s += v[k][e] * v[k][e];
    float r = 1.0f / sqrtf(block_reduce(s, Add(), 0.0f, shared) / (float)c + eps);
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
#pragma unroll
    for (int k = 0; k < N; k++) {
        int i = (threadIdx.x + k * blockDim.x) * GROUP;
        if (i >= c) break;
        float z[GROUP];
        load8<VEC>(z, w + i, c - i);
#pragma unroll
        for (int e = 0; e < GROUP; e++) z[e] = (plus + z[e]) * (v[k][e] * r);
        store8<VEC>(y + row + i, z, c - i);
    }
}

// dx += r·(g - x·r²·mean(g·x)) row by row, with g = dy·(plus+w); a block takes every gridDim-th row. With PARTS the
// block's sum of dy·x·r over its rows, in their order, goes to row blockIdx of part (gridDim,C).
template <bool VEC, int N, bool PARTS>
__global__ void __launch_bounds__(NORM_THREADS)
rms_bwd_kernel(bf16 *dx, float *part, const bf16 *dy, const bf16 *x, const float *rstd, const float *w, int64_t rows,
               int c, float plus) {
    __shared__ float shared[WARP];
    float sum[N][GROUP];
    if (PARTS)
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int e = 0; e < GROUP; e++) sum[k][e] = 0;
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        float a[N][GROUP], g[N][GROUP], d[N][GROUP], s = 0, r = rstd[t];
        load_groups<VEC>(a, x + t * c, c);
        load_groups<VEC>(g, dy + t * c, c);
        load_groups<VEC>(d, dx + t * c, c);
#pragma unroll
        for (int k = 0; k < N; k++) {
            int i = (threadIdx.x + k * blockDim.x) * GROUP;
            if (i >= c) break;
            float z[GROUP];
            load8<VEC>(z, w + i, c - i);
#pragma unroll
            for (int e = 0; e < GROUP; e++) {
                if (PARTS) sum[k][e] += g[k][e] * a[k][e] * r;
                g[k][e] *= plus + z[e];
                s += g[k][e] * a[k][e];
            }
        }
        float f = r * r * block_reduce(s, Add(), 0.0f, shared) / (float)c;
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int e = 0; e < GROUP; e++) d[k][e] += r * (g[k][e] - a[k][e] * f);
        store_groups<VEC>(dx + t * c, d, c);
    }
    if (PARTS) store_groups<VEC>(part + (int64_t)blockIdx.x * c, sum, c);
}

// ---- narrow rows ----------------------------------------------------------------------------------------

// The sum over the lanes of a row.
template <int LANES> __device__ __forceinline__ float lanes_sum(float s) {
#pragma unroll
    for (int m = LANES / 2; m; m /= 2) s += __shfl_xor_sync(~0u, s, m);
    return s;
}

template <bool VEC, int LANES>
__global__ void __launch_bounds__(ROWS_THREADS)
rms_fwd_rows_kernel(bf16 *y, float *rstd, const bf16 *x, const float *w, int64_t rows, int c, float plus, float eps) {
    const int i = threadIdx.x % LANES * GROUP;
    const int64_t t = (int64_t)blockIdx.x * (ROWS_THREADS / LANES) + threadIdx.x / LANES;
    const bool mine = t < rows && i < c; // all lanes of a warp take part in the sums
    float v[GROUP], z[GROUP], s = 0;
    if (mine) load8<VEC>(v, x + t * c + i, c - i);
    else load8<false>(v, x, 0);
#pragma unroll
    for (int e = 0; e < GROUP; e++) s += v[e] * v[e];
    const float r = 1.0f / sqrtf(lanes_sum<LANES>(s) / (float)c + eps);
    if (!mine) return;
    if (i == 0) rstd[t] = r;
    load8<VEC>(z, w + i, c - i);
#pragma unroll
    for (int e = 0; e < GROUP; e++) z[e] = (plus + z[e]) * (v[e] * r);
    store8<VEC>(y + t * c + i, z, c - i);
}

// As rms_bwd_kernel: the rows of a block go to its places in turn; with PARTS what the places have added up is added in
// their order.
template <bool VEC, int LANES, bool PARTS>
__global__ void __launch_bounds__(ROWS_THREADS)
rms_bwd_rows_kernel(bf16 *dx, float *part, const bf16 *dy, const bf16 *x, const float *rstd, const float *w,
                    int64_t rows, int c, float plus) {
    constexpr int PLACES = ROWS_THREADS / LANES;
    __shared__ float shared[PARTS ? ROWS_THREADS * GROUP : 1];
    const int i = threadIdx.x % LANES * GROUP;
    float z[GROUP], sum[GROUP];
    if (i < c) load8<VEC>(z, w + i, c - i);
    else load8<false>(z, w, 0);
#pragma unroll
    for (int e = 0; e < GROUP; e++) z[e] += plus, sum[e] = 0;
    for (int64_t first = (int64_t)blockIdx.x * PLACES; first < rows; first += (int64_t)gridDim.x * PLACES) {
        const int64_t t = first + threadIdx.x / LANES;
        const bool mine = t < rows && i < c;
        const int64_t at = mine ? t * c + i : 0;
        const float r = t < rows ? rstd[t] : 0.0f;
        float a[GROUP], g[GROUP], d[GROUP], s = 0;
        if (mine) {
            load8<VEC>(a, x + at, c - i);
            load8<VEC>(g, dy + at, c - i);
            load8<VEC>(d, dx + at, c - i);
        } else {
            load8<false>(a, x, 0);
            load8<false>(g, dy, 0);
        }
#pragma unroll
        for (int e = 0; e < GROUP; e++) {
            if (PARTS) sum[e] += g[e] * a[e] * r;
            g[e] *= z[e];
            s += g[e] * a[e];
        }
        const float f = r * r * lanes_sum<LANES>(s) / (float)c;
        if (!mine) continue;
#pragma unroll
        for (int e = 0; e < GROUP; e++) d[e] += r * (g[e] - a[e] * f);
        store8<VEC>(dx + at, d, c - i);
    }
    if (!PARTS) return;
#pragma unroll
    for (int e = 0; e < GROUP; e++) shared[threadIdx.x * GROUP + e] = sum[e];
    __syncthreads();
    const int j = threadIdx.x; // a column of the row
    if (j >= c) return;
    float s = 0;
    for (int p = 0; p < PLACES; p++) s += shared[p * LANES * GROUP + j];
    part[(int64_t)blockIdx.x * c + j] = s;
}

// ---- launches -------------------------------------------------------------------------------------------

// A way to go over rows: N groups a thread of a block, or LANES of a warp.
template <bool VEC, int N> struct Wide {
    static int forward(const ll_rms_fwd_args *a, cudaStream_t s) {
        rms_fwd_kernel<VEC, N><<<(unsigned)a->t, norm_threads(a->c, N), 0, s>>>(
            (bf16 *)a->y, a->rstd, (const bf16 *)a->x, a->w, (int)a->c, a->plus, a->eps);
        return launched();
    }
    static int64_t parts(const ll_device *d, int64_t t) { return norm_parts(d, t); }
    template <bool PARTS> static int backward(const ll_rms_bwd_args *a, int64_t blocks, cudaStream_t s) {
        rms_bwd_kernel<VEC, N, PARTS><<<(unsigned)blocks, norm_threads(a->c, N), 0, s>>>(
            (bf16 *)a->dx, (float *)a->work, (const bf16 *)a->dy, (const bf16 *)a->x, a->rstd, a->w, a->t, (int)a->c,
            a->plus);
        return launched();
    }
    static int64_t blocks(int64_t t) { return t; }
};

template <bool VEC, int LANES> struct Narrow {
    static int64_t blocks(int64_t t) { return ceil_div(t, ROWS_THREADS / LANES); }
    static int forward(const ll_rms_fwd_args *a, cudaStream_t s) {
        rms_fwd_rows_kernel<VEC, LANES><<<(unsigned)blocks(a->t), ROWS_THREADS, 0, s>>>(
            (bf16 *)a->y, a->rstd, (const bf16 *)a->x, a->w, a->t, (int)a->c, a->plus, a->eps);
        return launched();
    }
    static int64_t parts(const ll_device *d, int64_t t) {
        const int64_t room = ROWS_BLOCKS * d->multiprocessors, most = room < NORM_PARTS ? room : NORM_PARTS;
        return blocks(t) < most ? blocks(t) : most;
    }
    template <bool PARTS> static int backward(const ll_rms_bwd_args *a, int64_t blocks, cudaStream_t s) {
        rms_bwd_rows_kernel<VEC, LANES, PARTS><<<(unsigned)blocks, ROWS_THREADS, 0, s>>>(
            (bf16 *)a->dx, (float *)a->work, (const bf16 *)a->dy, (const bf16 *)a->x, a->rstd, a->w, a->t, (int)a->c,
            a->plus);
        return launched();
    }
};

// Calls f with the way for rows of c elements.
template <bool VEC, class F> static int rms_way(int64_t c, F f) {
    const int64_t groups = ceil_div(c, GROUP);
    if (groups <= 8) return f(Narrow<VEC, 8>());
    if (groups <= 16) return f(Narrow<VEC, 16>());
    if (groups <= 32) return f(Narrow<VEC, 32>());
    return norm_width(c, [&](auto n) { return f(Wide<VEC, n.value>()); });
}
template <class F> static int rms_way(bool vec, int64_t c, F f) {
    return vec ? rms_way<true>(c, f) : rms_way<false>(c, f);
}

} // namespace ll

extern "C" int ll_rms_fwd(ll_device *, ll_stream s, const ll_rms_fwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return rms_way(aligned(a->c, a->y, a->x, a->w), a->c, [&](auto way) { return way.forward(a, (cudaStream_t)s); });
}

extern "C" size_t ll_rms_bwd_work(int64_t t, int64_t c) {
    return (size_t)(t < ll::NORM_PARTS ? t : ll::NORM_PARTS) * c * sizeof(float);
}

extern "C" int ll_rms_bwd(ll_device *d, ll_stream s, const ll_rms_bwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return rms_way(aligned(a->c, a->dx, a->dy, a->x, a->w, a->work), a->c, [&](auto way) {
        if (!a->dw) return way.template backward<false>(a, way.blocks(a->t), (cudaStream_t)s);
        const int64_t parts = way.parts(d, a->t);
        const int e = way.template backward<true>(a, parts, (cudaStream_t)s);
        return e ? e : add_parts(a->dw, (float *)a->work, parts, a->c, s);
    });
}
