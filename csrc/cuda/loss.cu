// The ends of the step: softmax cross-entropy over rows of logits (ops.Losses.HeadLoss), the greatest logit
// (ops.Losses.ArgMax) and sums in float64 (ops.Losses.SumF32, SumSquares).
#include "device.cuh"

namespace ll {

constexpr int ROW_THREADS = 512; // of the block that takes a row; four of them fill a multiprocessor
constexpr int ROW_LOADS = 4;     // accesses of W floats that a thread has in flight

// W elements of a row; what lies past its end is -inf, which is no maximum and adds nothing.
template <int W, class T> __device__ __forceinline__ void load_row(float (&f)[W], const T *x, int64_t i, int64_t n) {
    if (i >= n) {
#pragma unroll
        for (int k = 0; k < W; k++) f[k] = -CUDART_INF_F;
    } else if constexpr (W == 1) {
        f[0] = to_float(x[i]);
    } else if constexpr (W == 4) {
        float4 v = *(const float4 *)(x + i);
        f[0] = v.x, f[1] = v.y, f[2] = v.z, f[3] = v.w;
    } else {
        load8<true>(f, x + i);
    }
}

// The greatest element so far and where it is; NaN is never the greatest.
struct Best {
    float x;
    int64_t i;
    __device__ void take(float y, int64_t j) {
        if (y > x || (y == x && j < i)) x = y, i = j;
    }
};

// The block's best, the lowest index of equals, in thread 0.
__device__ Best block_best(Best b, Best *shared) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int m = WARP / 2; m; m /= 2) b.take(__shfl_xor_sync(~0u, b.x, m), __shfl_xor_sync(~0u, b.i, m));
    if (lane == 0) shared[warp] = b;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int k = 1; k < blockDim.x / WARP; k++) b.take(shared[k].x, shared[k].i);
    __syncthreads();
    return b;
}

// exp(x - top), and 0 for x of -inf whatever top is: -inf less -inf is NaN otherwise.
__device__ __forceinline__ float shifted(float x, float top) { return expf(x - (top == -CUDART_INF_F ? 0.0f : top)); }

// One row a block: maximum and sum of exponentials in one pass, each thread rescaling its own sum; then, with grad, a
// second pass that writes scale·(softmax - onehot) as bf16 into the row's first half. It goes over the row in steps
// of all threads' loads: a step of floats [lo,hi) is read by all before any of it is written, to the place of floats
// [lo/2,hi/2), which only this and earlier steps have read. A NaN logit makes the sum, the loss and the gradient NaN,
// a target that is no element of its row the loss. CAPPED: a logit z counts as cap·tanh(z/cap), made in either pass.
template <int W, bool CAPPED>
__global__ void __launch_bounds__(ROW_THREADS)
softmax_kernel(float *logits, const int32_t *target, float *nll, int32_t *best, int64_t v, float scale, float cap,
               bool grad) {
    constexpr int64_t STEP = ROW_THREADS * ROW_LOADS * W;
    __shared__ float shared[WARP];
    __shared__ Best bests[WARP];
    float *x = logits + (int64_t)blockIdx.x * v;
    bf16 *dx = (bf16 *)x;
    int32_t want = target[blockIdx.x];
    if (want < 0) {
        if (threadIdx.x == 0) nll[blockIdx.x] = 0;
        if (!best && !grad) return;
    }
    float f[ROW_LOADS][W], top = -CUDART_INF_F, sum = 0;
    auto load = [&](int64_t lo) {
#pragma unroll
        for (int u = 0; u < ROW_LOADS; u++) {
            const int64_t i = lo + (u * ROW_THREADS + threadIdx.x) * W;
            load_row<W>(f[u], x, i, v);
            if (CAPPED && i < v)
#pragma unroll
                for (int k = 0; k < W; k++) f[u][k] = cap * tanhf(f[u][k] / cap);
        }
    };
    if (want >= 0 || best) {
        Best b = {-CUDART_INF_F, INT64_MAX};
        for (int64_t lo = 0; lo < v; lo += STEP) {
            load(lo);
            float m = top;
#pragma unroll
            for (int u = 0; u < ROW_LOADS; u++)
#pragma unroll
                for (int k = 0; k < W; k++) {
                    m = fmaxf(m, f[u][k]);
                    if (best) b.take(f[u][k], lo + (u * ROW_THREADS + threadIdx.x) * W + k);
                }
            sum *= shifted(top, m);
            top = m;
#pragma unroll
            for (int u = 0; u < ROW_LOADS; u++)
#pragma unroll
                for (int k = 0; k < W; k++) sum += shifted(f[u][k], top);
        }
        if (best) {
            b = block_best(b, bests);
            if (threadIdx.x == 0) best[blockIdx.x] = b.i < v ? (int32_t)b.i : 0;
        }
    }
    if (want >= 0) {
        float hit = want < v ? x[want] : CUDART_NAN_F;
        if (CAPPED) hit = cap * tanhf(hit / cap);
        const float all = block_reduce(top, Max(), -CUDART_INF_F, shared);
        sum = block_reduce(sum * shifted(top, all), Add(), 0.0f, shared);
        top = all;
        if (threadIdx.x == 0) nll[blockIdx.x] = logf(sum) + (top - hit);
    }
    if (!grad) return;
    float factor = scale / sum;
    for (int64_t lo = 0; lo < v; lo += STEP) {
        if (want >= 0) load(lo);
        __syncthreads();
#pragma unroll
        for (int u = 0; u < ROW_LOADS; u++) {
            int64_t i = lo + (u * ROW_THREADS + threadIdx.x) * W;
            if (i >= v) continue;
            bf16 out[W];
#pragma unroll
            for (int k = 0; k < W; k++) {
                float d = want < 0 ? 0.0f : expf(f[u][k] - top) * factor;
                if (i + k == want) d -= scale;
                if (CAPPED && want >= 0) d *= 1.0f - f[u][k] / cap * (f[u][k] / cap);
                out[k] = from_float<bf16>(d);
            }
            if constexpr (W == 4) *(uint2 *)(dx + i) = *(uint2 *)out;
            else dx[i] = out[0];
        }
    }
}

template <int W, class T>
__global__ void __launch_bounds__(ROW_THREADS) argmax_kernel(int32_t *idx, const T *logits, int64_t v) {
    __shared__ Best bests[WARP];
    const T *x = logits + (int64_t)blockIdx.x * v;
    Best b = {-CUDART_INF_F, INT64_MAX};
    for (int64_t lo = 0; lo < v; lo += ROW_THREADS * W) {
        float f[W];
        load_row<W>(f, x, lo + threadIdx.x * W, v);
#pragma unroll
        for (int k = 0; k < W; k++) b.take(f[k], lo + threadIdx.x * W + k);
    }
    b = block_best(b, bests);
    if (threadIdx.x == 0) idx[blockIdx.x] = b.i < v ? (int32_t)b.i : 0;
}

constexpr int SUM_THREADS = 256;
constexpr int SUM_PARTS = 1024; // blocks at most: enough to fill any GPU, few enough for one block to finish

// part[b] = the sum of the groups b·256+thread, then on by the grid, each thread in the order of its elements.
template <bool SQUARES>
__global__ void __launch_bounds__(SUM_THREADS) sum_kernel(double *part, const float *x, int64_t n, bool vec) {
    __shared__ double shared[WARP];
    double s = 0;
    for (int64_t i = ((int64_t)blockIdx.x * SUM_THREADS + threadIdx.x) * GROUP; i < n;
         i += (int64_t)gridDim.x * SUM_THREADS * GROUP) {
        float f[GROUP];
        if (vec && n - i >= GROUP) load8<true>(f, x + i);
        else load8<false>(f, x + i, n - i);
#pragma unroll
        for (int k = 0; k < GROUP; k++) s += SQUARES ? (double)f[k] * f[k] : (double)f[k];
    }
    s = block_reduce(s, Add(), 0.0, shared);
    if (threadIdx.x == 0) part[blockIdx.x] = s;
}

__global__ void __launch_bounds__(SUM_THREADS) sum_parts_kernel(double *out, const double *part, int parts) {
    __shared__ double shared[WARP];
    double s = 0;
    for (int i = threadIdx.x; i < parts; i += SUM_THREADS) s += part[i];
    s = block_reduce(s, Add(), 0.0, shared);
    if (threadIdx.x == 0) *out += s;
}

} // namespace ll

extern "C" int ll_softmax(ll_device *, ll_stream s, const ll_softmax_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->v <= 0) return cudaSuccess;
    const bool vec = a->v % 4 == 0 && (uintptr_t)a->logits % 16 == 0;
    auto kernel = a->cap > 0 ? (vec ? softmax_kernel<4, true> : softmax_kernel<1, true>)
                             : (vec ? softmax_kernel<4, false> : softmax_kernel<1, false>);
    kernel<<<(unsigned)a->rows, ROW_THREADS, 0, (cudaStream_t)s>>>(a->logits, a->target, a->nll, a->best, a->v,
                                                                   a->scale, a->cap, a->grad != 0);
    return launched();
}

template <class T> static int argmax(const ll_argmax_args *a, ll_stream s) {
    using namespace ll;
    auto kernel = aligned(a->v, a->logits) ? argmax_kernel<GROUP, T> : argmax_kernel<1, T>;
    kernel<<<(unsigned)a->rows, ROW_THREADS, 0, (cudaStream_t)s>>>(a->idx, (const T *)a->logits, a->v);
    return launched();
}

extern "C" int ll_argmax(ll_device *, ll_stream s, const ll_argmax_args *a) {
    if (a->rows <= 0 || a->v <= 0) return cudaSuccess;
    switch (a->dt) {
    case LL_BF16: return argmax<ll::bf16>(a, s);
    case LL_F32: return argmax<float>(a, s);
    }
    return cudaErrorInvalidValue;
}

extern "C" size_t ll_sum_work(int64_t) { return ll::SUM_PARTS * sizeof(double); }

extern "C" int ll_sum(ll_device *, ll_stream s, const ll_sum_args *a) {
    using namespace ll;
    if (a->n <= 0) return cudaSuccess;
    int64_t blocks = ceil_div(a->n, SUM_THREADS * GROUP);
    int parts = (int)(blocks < SUM_PARTS ? blocks : SUM_PARTS);
    double *const part = (double *)a->work;
    auto kernel = a->squares ? sum_kernel<true> : sum_kernel<false>;
    kernel<<<(unsigned)parts, SUM_THREADS, 0, (cudaStream_t)s>>>(part, a->x, a->n, aligned(0, a->x));
    sum_parts_kernel<<<1, SUM_THREADS, 0, (cudaStream_t)s>>>(a->out, part, parts);
    return launched();
}
