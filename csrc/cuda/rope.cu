// Rotary position embedding: ops.Rotary (RoFormer, arXiv 2104.09864, eq. 34, with the pairs
// (i, i+D/2) of LLaMA).
#include "device.cuh"

namespace ll {

// One pair (t, i) a thread. The angle is rounded to float32 as transformers does; its sine and cosine are taken in
// float64, since float32's range reduction loses digits at angles of 10^5 and more.
__global__ void __launch_bounds__(FLAT_THREADS)
rope_table_kernel(float *cs, const int32_t *pos, const float *inv, int64_t n, int64_t half, float scale) {
    int64_t j = (int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (j >= n) return;
    int64_t t = j / half, i = j % half;
    double sine, cosine;
    sincos((double)__fmul_rn((float)pos[t], inv[i]), &sine, &cosine);
    cs[t * 2 * half + i] = __fmul_rn((float)cosine, scale);
    cs[t * 2 * half + half + i] = __fmul_rn((float)sine, scale);
}

// Eight pairs of one head a thread, and behind the pairs groups of eight channels that are copied. A thread reads both
// halves of its pairs before it writes either, and no other touches them: dst may be src. One head, though more would
// share the cosines: those come from the cache, and what counts is how many threads have loads in flight (8192 tokens
// of 32 heads on an H100: 52 µs, four heads 58).
template <bool VEC, class D, class S>
__global__ void __launch_bounds__(FLAT_THREADS)
rope_kernel(D *dst, const S *src, const float *cs, unsigned work, unsigned heads, unsigned d, unsigned half,
            float sign) {
    ll_next();
    unsigned j = blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (j >= work) return;
    unsigned pairs = (half + GROUP - 1) / GROUP, groups = pairs + (d - 2 * half + GROUP - 1) / GROUP;
    unsigned head = j / groups; // of all tokens' heads
    unsigned group = j - head * groups;
    int64_t at = (int64_t)head * d;
    if (group >= pairs) {
        unsigned i = 2 * half + (group - pairs) * GROUP;
        float x[GROUP];
        load8<VEC>(x, src + at + i, d - i);
        store8<VEC>(dst + at + i, x, d - i);
        return;
    }
    unsigned i = group * GROUP, n = half - i;
    const float *row = cs + (int64_t)(head / heads) * 2 * half + i;
    float a[GROUP], b[GROUP], c[GROUP], s[GROUP];
    load8<VEC>(a, src + at + i, n);
    load8<VEC>(b, src + at + half + i, n);
    load8<VEC>(c, row, n);
    load8<VEC>(s, row + half, n);
#pragma unroll
    for (int e = 0; e < GROUP; e++) {
        float x = a[e], y = b[e], z = sign * s[e];
        a[e] = x * c[e] - y * z;
        b[e] = y * c[e] + x * z;
    }
    store8<VEC>(dst + at + i, a, n);
    store8<VEC>(dst + at + half + i, b, n);
}

// In launches of fewer than 2^31 threads, so that they find their head by 32-bit divisions: those of 64 bits take a
// hundred instructions each.
template <class D, class S> static int rope(const ll_rope_args *a, ll_stream s) {
    int64_t half = a->r / 2, row = a->heads * (ceil_div(half, GROUP) + ceil_div(a->d - a->r, GROUP));
    int64_t most = INT32_MAX / row;
    bool vec = half % GROUP == 0 && aligned(a->d, a->dst, a->src, a->cs);
    auto kernel = vec ? rope_kernel<true, D, S> : rope_kernel<false, D, S>;
    for (int64_t lo = 0; lo < a->t; lo += most) {
        int64_t work = (a->t - lo < most ? a->t - lo : most) * row, at = lo * a->heads * a->d;
        kernel<<<(unsigned)ceil_div(work, FLAT_THREADS), FLAT_THREADS, 0, (cudaStream_t)s>>>(
            (D *)a->dst + at, (const S *)a->src + at, a->cs + lo * a->r, (unsigned)work, (unsigned)a->heads,
            (unsigned)a->d, (unsigned)half, a->inverse ? -1.0f : 1.0f);
    }
    return launched();
}

} // namespace ll

extern "C" int ll_rope_table(ll_device *, ll_stream s, const ll_rope_table_args *a) {
    using namespace ll;
    int64_t n = a->t * (a->d / 2);
    if (n <= 0) return cudaSuccess;
    rope_table_kernel<<<(unsigned)ceil_div(n, FLAT_THREADS), FLAT_THREADS, 0, (cudaStream_t)s>>>(a->cs, a->pos, a->inv,
                                                                                                 n, a->d / 2, a->scale);
    return launched();
}

extern "C" int ll_rope(ll_device *, ll_stream s, const ll_rope_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->heads <= 0 || a->d <= 0) return cudaSuccess;
    if (a->ddt == LL_BF16 && a->sdt == LL_BF16) return rope<bf16, bf16>(a, s);
    if (a->ddt == LL_BF16 && a->sdt == LL_F32) return rope<bf16, float>(a, s);
    if (a->ddt == LL_F32 && a->sdt == LL_F32) return rope<float, float>(a, s);
    if (a->ddt == LL_F32 && a->sdt == LL_BF16) return rope<float, bf16>(a, s);
    return cudaErrorInvalidValue;
}
