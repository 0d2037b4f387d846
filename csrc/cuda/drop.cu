// Dropout by a hash of (token key, stream, channel): ops.DropKeep, so that the mask can be made again.
#include "device.cuh"

#include <math.h>

namespace ll {

// The finalizer of splitmix64, as in ops/drop.go.
__device__ __forceinline__ uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// One block a token. An element stays when its hash is at least bound.
template <bool VEC>
__global__ void drop_kernel(bf16 *dst, const bf16 *src, const uint64_t *keys, uint64_t salt, uint64_t bound,
                            float factor, int64_t c) {
    int64_t row = (int64_t)blockIdx.x * c;
    uint64_t key = mix(keys[blockIdx.x] ^ salt);
    for (int64_t i = (int64_t)threadIdx.x * GROUP; i < c; i += (int64_t)blockDim.x * GROUP) {
        float f[GROUP];
        load8<VEC>(f, src + row + i, c - i);
#pragma unroll
        for (int k = 0; k < GROUP; k++) f[k] = mix(key ^ (uint64_t)(i + k)) >= bound ? f[k] * factor : 0.0f;
        store8<VEC>(dst + row + i, f, c - i);
    }
}

} // namespace ll

extern "C" int ll_drop(ll_device *, ll_stream s, const ll_drop_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    // float64(u>>11)·2^-53 >= p, all of it exact, is u>>11 >= ceil(p·2^53), and so u >= that shifted back
    uint64_t bound = (uint64_t)ceil(ldexp((double)a->p, 53)) << 11;
    uint64_t salt = a->stream * 0x9e3779b97f4a7c15ull;
    float factor = 1.0f / (1.0f - a->p);
    int64_t warps = ceil_div(a->c, GROUP * WARP);
    auto kernel = aligned(a->c, a->dst, a->src) ? drop_kernel<true> : drop_kernel<false>;
    kernel<<<(unsigned)a->t, (int)(warps < 8 ? warps : 8) * WARP, 0, (cudaStream_t)s>>>(
        (bf16 *)a->dst, (const bf16 *)a->src, a->keys, salt, bound, factor, a->c);
    return launched();
}
