// LayerNorm, forward and backward: ops.LayerNorm (arXiv 1607.06450, eq. 4). How rows lie in blocks stands in norm.cuh.
#include "norm.cuh"

namespace ll {

// The sum over the block of what a thread's groups add up to.
template <int N> __device__ __forceinline__ float row_sum(const float (&v)[N][GROUP], float *shared) {
    float s = 0;
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
        for (int e = 0; e < GROUP; e++) s += v[k][e];
    return block_reduce(s, Add(), 0.0f, shared);
}

template <bool VEC, int N>
__global__ void __launch_bounds__(NORM_THREADS)
layernorm_fwd_kernel(bf16 *y, float *stat, const bf16 *x, const float *w, const float *bias, int c, float eps) {
    __shared__ float shared[WARP];
    const int64_t row = (int64_t)blockIdx.x * c;
    float v[N][GROUP];
    load_groups<VEC>(v, x + row, c);
    const float m = row_sum(v, shared) / (float)c;
    float s = 0;
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
        for (int e = 0; e < GROUP; e++) {
            const int i = (threadIdx.x + k * blockDim.x) * GROUP + e;
            v[k][e] = i < c ? v[k][e] - m : 0.0f; // what lies past the row's end is no part of it
            s += v[k][e] * v[k][e];
        }
    const float r = 1.0f / sqrtf(block_reduce(s, Add(), 0.0f, shared) / (float)c + eps);
    if (threadIdx.x == 0) stat[2 * (int64_t)blockIdx.x] = m, stat[2 * (int64_t)blockIdx.x + 1] = r;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = (threadIdx.x + k * blockDim.x) * GROUP;
        if (i >= c) break;
        float z[GROUP], b[GROUP];
        load8<VEC>(z, w + i, c - i);
        load8<VEC>(b, bias + i, c - i);
#pragma unroll
        for (int e = 0; e < GROUP; e++) z[e] = v[k][e] * r * z[e] + b[e];
        store8<VEC>(y + row + i, z, c - i);
    }
}

// dx += r·(g - mean(g) - h·mean(g·h)) row by row, with g = dy·w and h = (x-m)·r; a block takes every gridDim-th row.
// With PARTS the block's sums of dy·h and of dy over its rows, in their order, go to row blockIdx of part (gridDim,C)
// and of the array of the same shape that follows it.
template <bool VEC, int N, bool PARTS>
__global__ void __launch_bounds__(NORM_THREADS)
layernorm_bwd_kernel(bf16 *dx, float *part, const bf16 *dy, const bf16 *x, const float *stat, const float *w,
                     int64_t rows, int c) {
    __shared__ float shared[WARP];
    float dw[N][GROUP], db[N][GROUP];
    if (PARTS)
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int e = 0; e < GROUP; e++) dw[k][e] = db[k][e] = 0;
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        const float m = stat[2 * t], r = stat[2 * t + 1];
        float h[N][GROUP], g[N][GROUP], d[N][GROUP], s = 0, q = 0;
        load_groups<VEC>(h, x + t * c, c);
        load_groups<VEC>(g, dy + t * c, c); // zeros past the row's end, which add nothing below
        load_groups<VEC>(d, dx + t * c, c);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = (threadIdx.x + k * blockDim.x) * GROUP;
            if (i >= c) break;
            float z[GROUP];
            load8<VEC>(z, w + i, c - i);
#pragma unroll
            for (int e = 0; e < GROUP; e++) {
                h[k][e] = (h[k][e] - m) * r;
                if (PARTS) dw[k][e] += g[k][e] * h[k][e], db[k][e] += g[k][e];
                g[k][e] *= z[e];
                s += g[k][e];
                q += g[k][e] * h[k][e];
            }
        }
        s = block_reduce(s, Add(), 0.0f, shared) / (float)c;
        q = block_reduce(q, Add(), 0.0f, shared) / (float)c;
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int e = 0; e < GROUP; e++) d[k][e] += r * (g[k][e] - s - h[k][e] * q);
        store_groups<VEC>(dx + t * c, d, c);
    }
    if (PARTS) {
        store_groups<VEC>(part + (int64_t)blockIdx.x * c, dw, c);
        store_groups<VEC>(part + ((int64_t)gridDim.x + blockIdx.x) * c, db, c);
    }
}

template <bool VEC, int N> static int layernorm_fwd(const ll_layernorm_fwd_args *a, ll_stream s) {
    layernorm_fwd_kernel<VEC, N><<<(unsigned)a->t, norm_threads(a->c, N), 0, (cudaStream_t)s>>>(
        (bf16 *)a->y, a->stat, (const bf16 *)a->x, a->w, a->bias, (int)a->c, a->eps);
    return launched();
}

template <bool VEC, int N> static int layernorm_bwd(const ll_device *d, const ll_layernorm_bwd_args *a, ll_stream s) {
    const int threads = norm_threads(a->c, N);
    const bf16 *dy = (const bf16 *)a->dy, *x = (const bf16 *)a->x;
    if (!a->dw && !a->dbias) {
        layernorm_bwd_kernel<VEC, N, false><<<(unsigned)a->t, threads, 0, (cudaStream_t)s>>>(
            (bf16 *)a->dx, nullptr, dy, x, a->stat, a->w, a->t, (int)a->c);
        return launched();
    }
    const int64_t parts = norm_parts(d, a->t);
    float *part = (float *)a->work;
    layernorm_bwd_kernel<VEC, N, true><<<(unsigned)parts, threads, 0, (cudaStream_t)s>>>((bf16 *)a->dx, part, dy, x,
                                                                                        a->stat, a->w, a->t, (int)a->c);
    int e = launched();
    if (!e && a->dw) e = add_parts(a->dw, part, parts, a->c, s);
    if (!e && a->dbias) e = add_parts(a->dbias, part + parts * a->c, parts, a->c, s);
    return e;
}

} // namespace ll

extern "C" int ll_layernorm_fwd(ll_device *, ll_stream s, const ll_layernorm_fwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return norm_width(a->c, [&](auto n) {
        return aligned(a->c, a->y, a->x, a->w, a->bias) ? layernorm_fwd<true, n.value>(a, s)
                                                        : layernorm_fwd<false, n.value>(a, s);
    });
}

extern "C" size_t ll_layernorm_bwd_work(int64_t t, int64_t c) {
    return 2 * (size_t)(t < ll::NORM_PARTS ? t : ll::NORM_PARTS) * c * sizeof(float);
}

extern "C" int ll_layernorm_bwd(ll_device *d, ll_stream s, const ll_layernorm_bwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return norm_width(a->c, [&](auto n) {
        return aligned(a->c, a->dx, a->dy, a->x, a->w, a->work) ? layernorm_bwd<true, n.value>(d, a, s)
                                                                : layernorm_bwd<false, n.value>(d, a, s);
    });
}
