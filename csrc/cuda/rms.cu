// RMSNorm, forward and backward: ops.RMSNorm (arXiv 1910.07467, eq. 4).
//
// A block takes a row whole: N groups a thread stay in registers between the sum over the row and its use, so that
// each element is read once. Blocks hold up to 1024 threads: N = 1 is enough for widths of up to 8192, 2 for 16384;
// 4, which spills, goes to 32768, beyond any model.
#include "parts.cuh"

#include <type_traits>

namespace ll {

constexpr int RMS_THREADS = 1024;
// Blocks whose partial sums of dw are added up at the end: two on each multiprocessor, and no more than this.
constexpr int RMS_PARTS = 512;

template <bool VEC, int N>
__global__ void __launch_bounds__(RMS_THREADS)
rms_fwd_kernel(bf16 *y, float *rstd, const bf16 *x, const float *w, int c, float eps) {
    __shared__ float shared[WARP];
    int64_t row = (int64_t)blockIdx.x * c;
    float v[N][GROUP], s = 0;
#pragma unroll
    for (int k = 0; k < N; k++) {
        int i = (threadIdx.x + k * blockDim.x) * GROUP;
        if (i < c) load8<VEC>(v[k], x + row + i, c - i);
        else load8<false>(v[k], x, 0);
    }
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
        for (int e = 0; e < GROUP; e++) z[e] *= v[k][e] * r;
        store8<VEC>(y + row + i, z, c - i);
    }
}

// dx += r·(dy·w - x·r²·mean(dy·w·x)) row by row; a block takes every gridDim-th row. With PARTS the block's sum of
// dy·x·r over its rows, in their order, goes to row blockIdx of part (gridDim,C).
template <bool VEC, int N, bool PARTS>
__global__ void __launch_bounds__(RMS_THREADS)
rms_bwd_kernel(bf16 *dx, float *part, const bf16 *dy, const bf16 *x, const float *rstd, const float *w, int64_t rows,
               int c) {
    __shared__ float shared[WARP];
    float sum[N][GROUP];
    if (PARTS)
#pragma unroll
        for (int k = 0; k < N; k++)
#pragma unroll
            for (int e = 0; e < GROUP; e++) sum[k][e] = 0;
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        float a[N][GROUP], g[N][GROUP], d[N][GROUP], s = 0, r = rstd[t];
#pragma unroll
        for (int k = 0; k < N; k++) {
            int i = (threadIdx.x + k * blockDim.x) * GROUP;
            int64_t at = i < c ? t * c + i : 0;
            int n = i < c ? c - i : 0;
            if (n > 0) {
                load8<VEC>(a[k], x + at, n);
                load8<VEC>(g[k], dy + at, n);
                load8<VEC>(d[k], dx + at, n);
            } else {
                load8<false>(a[k], x, 0);
                load8<false>(g[k], dy, 0);
            }
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            int i = (threadIdx.x + k * blockDim.x) * GROUP;
            if (i >= c) break;
            float z[GROUP];
            load8<VEC>(z, w + i, c - i);
#pragma unroll
            for (int e = 0; e < GROUP; e++) {
                if (PARTS) sum[k][e] += g[k][e] * a[k][e] * r;
                g[k][e] *= z[e];
                s += g[k][e] * a[k][e];
            }
        }
        float f = r * r * block_reduce(s, Add(), 0.0f, shared) / (float)c;
#pragma unroll
        for (int k = 0; k < N; k++) {
            int i = (threadIdx.x + k * blockDim.x) * GROUP;
            if (i >= c) break;
#pragma unroll
            for (int e = 0; e < GROUP; e++) d[k][e] += r * (g[k][e] - a[k][e] * f);
            store8<VEC>(dx + t * c + i, d[k], c - i);
        }
    }
    if (PARTS)
#pragma unroll
        for (int k = 0; k < N; k++) {
            int i = (threadIdx.x + k * blockDim.x) * GROUP;
            if (i < c) store8<VEC>(part + (int64_t)blockIdx.x * c + i, sum[k], c - i);
        }
}

// Threads of a block for rows of c elements, each with N groups.
static int rms_threads(int64_t c, int n) { return (int)(ceil_div(ceil_div(c, GROUP), (int64_t)n * WARP) * WARP); }

template <bool VEC, int N> static int rms_fwd(const ll_rms_fwd_args *a, ll_stream s) {
    rms_fwd_kernel<VEC, N><<<(unsigned)a->t, rms_threads(a->c, N), 0, (cudaStream_t)s>>>(
        (bf16 *)a->y, a->rstd, (const bf16 *)a->x, a->w, (int)a->c, a->eps);
    return launched();
}

template <bool VEC, int N> static int rms_bwd(const ll_device *d, const ll_rms_bwd_args *a, ll_stream s) {
    const int threads = rms_threads(a->c, N);
    const bf16 *dy = (const bf16 *)a->dy, *x = (const bf16 *)a->x;
    if (!a->dw) {
        rms_bwd_kernel<VEC, N, false><<<(unsigned)a->t, threads, 0, (cudaStream_t)s>>>((bf16 *)a->dx, nullptr, dy, x,
                                                                                      a->rstd, a->w, a->t, (int)a->c);
        return launched();
    }
    int64_t parts = 2 * d->multiprocessors < RMS_PARTS ? 2 * d->multiprocessors : RMS_PARTS;
    if (a->t < parts) parts = a->t;
    float *part = (float *)a->work;
    rms_bwd_kernel<VEC, N, true>
        <<<(unsigned)parts, threads, 0, (cudaStream_t)s>>>((bf16 *)a->dx, part, dy, x, a->rstd, a->w, a->t, (int)a->c);
    if (int e = launched()) return e;
    return add_parts(a->dw, part, parts, a->c, s);
}

// Calls f with the number of groups that a thread must hold for rows of c.
template <class F> static int rms_width(int64_t c, F f) {
    int64_t n = ceil_div(c, RMS_THREADS * GROUP);
    if (n <= 1) return f(std::integral_constant<int, 1>());
    if (n <= 2) return f(std::integral_constant<int, 2>());
    if (n <= 4) return f(std::integral_constant<int, 4>());
    return cudaErrorInvalidValue;
}

} // namespace ll

extern "C" int ll_rms_fwd(ll_device *, ll_stream s, const ll_rms_fwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return rms_width(a->c, [&](auto n) {
        return aligned(a->c, a->y, a->x, a->w) ? rms_fwd<true, n.value>(a, s) : rms_fwd<false, n.value>(a, s);
    });
}

extern "C" size_t ll_rms_bwd_work(int64_t t, int64_t c) {
    return (size_t)(t < ll::RMS_PARTS ? t : ll::RMS_PARTS) * c * sizeof(float);
}

extern "C" int ll_rms_bwd(ll_device *d, ll_stream s, const ll_rms_bwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    return rms_width(a->c, [&](auto n) {
        return aligned(a->c, a->dx, a->dy, a->x, a->w, a->work) ? rms_bwd<true, n.value>(d, a, s)
                                                                : rms_bwd<false, n.value>(d, a, s);
    });
}
