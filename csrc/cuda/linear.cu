// What linear layers want besides products, which are in blas.cu: the gradient of a bias, DBias += Σ_t dY[t], and a
// sum of two gradients. See ops.Linears.
#include "parts.cuh"

namespace ll {

constexpr int BIAS_THREADS = 128;          // each adds up a group of columns
constexpr int64_t BIAS_PARTS = 256;        // as many rows of blocks at most: enough for all multiprocessors
constexpr int64_t BIAS_FLOATS = 8ll << 20; // of all parts at most

static int64_t bias_parts(int64_t t, int64_t c) {
    int64_t n = t < BIAS_PARTS ? t : BIAS_PARTS;
    return n * c <= BIAS_FLOATS ? n : BIAS_FLOATS / c > 1 ? BIAS_FLOATS / c : 1;
}

template <bool VEC>
__global__ void __launch_bounds__(BIAS_THREADS) bias_grad_kernel(float *part, const bf16 *dy, int64_t rows, int64_t c) {
    const int64_t i = ((int64_t)blockIdx.x * BIAS_THREADS + threadIdx.x) * GROUP;
    if (i >= c) return;
    float sum[GROUP];
#pragma unroll
    for (int e = 0; e < GROUP; e++) sum[e] = 0;
    for (int64_t t = blockIdx.y; t < rows; t += gridDim.y) {
        float v[GROUP];
        load8<VEC>(v, dy + t * c + i, c - i);
#pragma unroll
        for (int e = 0; e < GROUP; e++) sum[e] += v[e];
    }
    store8<VEC>(part + blockIdx.y * c + i, sum, c - i);
}

// dst += src
__global__ void add_kernel(bf16 *dst, const bf16 *src, int64_t n) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        dst[i] = from_float<bf16>(to_float(dst[i]) + to_float(src[i]));
}

} // namespace ll

extern "C" size_t ll_bias_grad_work(int64_t t, int64_t c) { return (size_t)ll::bias_parts(t, c) * c * sizeof(float); }

extern "C" int ll_bias_grad(ll_device *, ll_stream s, const ll_bias_grad_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    const int64_t parts = bias_parts(a->t, a->c);
    float *part = (float *)a->work;
    auto kernel = aligned(a->c, a->dy, part) ? bias_grad_kernel<true> : bias_grad_kernel<false>;
    dim3 grid((unsigned)ceil_div(a->c, BIAS_THREADS * GROUP), (unsigned)parts);
    kernel<<<grid, BIAS_THREADS, 0, (cudaStream_t)s>>>(part, (const bf16 *)a->dy, a->t, a->c);
    if (int e = launched()) return e;
    return add_parts(a->db, part, parts, a->c, s);
}

extern "C" int ll_add(ll_device *, ll_stream s, const ll_add_args *a) {
    if (a->n == 0) return cudaSuccess;
    int64_t blocks = ll::ceil_div(a->n, 1024);
    ll::add_kernel<<<blocks < 4096 ? (int)blocks : 4096, 256, 0, (cudaStream_t)s>>>((ll::bf16 *)a->dst,
                                                                                   (const ll::bf16 *)a->src, a->n);
    return ll::launched();
}
