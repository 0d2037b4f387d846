// Rotary position embedding: ops.Layers.RopeTable and Rope (RoFormer, arXiv 2104.09864, eq. 34, with the pairs
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

constexpr int ROPE_HEADS = 4;     // heads that a thread turns with the cosines and sines it has read
constexpr int ROPE_THREADS = 256; // of a block, over (token, head of the first quarter, group of pairs)

// A thread reads both halves of its pairs before it writes either, and no other touches them: dst may be src.
template <bool VEC, class D, class S>
__global__ void __launch_bounds__(ROPE_THREADS)
rope_kernel(D *dst, const S *src, const float *cs, int64_t tokens, int heads, int half, float sign) {
    int groups = (half + GROUP - 1) / GROUP, quarter = (heads + ROPE_HEADS - 1) / ROPE_HEADS;
    int64_t j = (int64_t)blockIdx.x * ROPE_THREADS + threadIdx.x, work = (int64_t)groups * quarter, t = j / work;
    if (t >= tokens) return;
    int rest = (int)(j - t * work), head = rest / groups, i = rest % groups * GROUP, n = half - i;
    float c[GROUP], s[GROUP], a[ROPE_HEADS][GROUP], b[ROPE_HEADS][GROUP];
    const int64_t row = t * heads * 2 * half + i;
#pragma unroll
    for (int k = 0; k < ROPE_HEADS; k++)
        if (head + k * quarter < heads) {
            const S *p = src + row + (int64_t)(head + k * quarter) * 2 * half;
            load8<VEC>(a[k], p, n);
            load8<VEC>(b[k], p + half, n);
        }
    load8<VEC>(c, cs + t * 2 * half + i, n);
    load8<VEC>(s, cs + t * 2 * half + half + i, n);
#pragma unroll
    for (int k = 0; k < ROPE_HEADS; k++)
        if (head + k * quarter < heads) {
#pragma unroll
            for (int e = 0; e < GROUP; e++) {
                float x = a[k][e], y = b[k][e], z = sign * s[e];
                a[k][e] = x * c[e] - y * z;
                b[k][e] = y * c[e] + x * z;
            }
            D *p = dst + row + (int64_t)(head + k * quarter) * 2 * half;
            store8<VEC>(p, a[k], n);
            store8<VEC>(p + half, b[k], n);
        }
}

template <class D, class S>
static int rope(void *dst, const void *src, const float *cs, int64_t t, int64_t heads, int64_t d, int inverse,
                ll_stream s) {
    int64_t half = d / 2, work = t * ceil_div(half, GROUP) * ceil_div(heads, ROPE_HEADS);
    auto kernel = aligned(half, dst, src, cs) ? rope_kernel<true, D, S> : rope_kernel<false, D, S>;
    kernel<<<(unsigned)ceil_div(work, ROPE_THREADS), ROPE_THREADS, 0, (cudaStream_t)s>>>(
        (D *)dst, (const S *)src, cs, t, (int)heads, (int)half, inverse ? -1.0f : 1.0f);
    return launched();
}

} // namespace ll

extern "C" int ll_rope_table(float *cs, const int32_t *pos, const float *inv, int64_t t, int64_t d, float scale,
                             ll_stream s) {
    int64_t n = t * (d / 2);
    if (n <= 0) return cudaSuccess;
    ll::rope_table_kernel<<<(unsigned)ll::ceil_div(n, ll::FLAT_THREADS), ll::FLAT_THREADS, 0, (cudaStream_t)s>>>(
        cs, pos, inv, n, d / 2, scale);
    return ll::launched();
}

extern "C" int ll_rope(void *dst, int ddt, const void *src, int sdt, const float *cs, int64_t t, int64_t heads,
                       int64_t d, int inverse, ll_stream s) {
    using namespace ll;
    if (t <= 0 || heads <= 0 || d <= 0) return cudaSuccess;
    if (ddt == LL_BF16 && sdt == LL_BF16) return rope<bf16, bf16>(dst, src, cs, t, heads, d, inverse, s);
    if (ddt == LL_BF16 && sdt == LL_F32) return rope<bf16, float>(dst, src, cs, t, heads, d, inverse, s);
    if (ddt == LL_F32 && sdt == LL_F32) return rope<float, float>(dst, src, cs, t, heads, d, inverse, s);
    if (ddt == LL_F32 && sdt == LL_BF16) return rope<float, bf16>(dst, src, cs, t, heads, d, inverse, s);
    return cudaErrorInvalidValue;
}
