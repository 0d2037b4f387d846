// The embedding: ops.Layers.EmbedForward, EmbedBackward.
//
// Backward, tokens are sorted by id, equal ids in the order of t, and each id's rows are added up in that order by one
// thread a pair of columns: no atomic, the same bits every time. The sum starts at 0 and is added to the table's row.
#include "device.cuh"

#include <cub/device/device_radix_sort.cuh>

namespace ll {

// One block a token.
template <bool VEC>
__global__ void embed_fwd_kernel(bf16 *y, const bf16 *table, const int32_t *ids, int64_t c) {
    bf16 *to = y + (int64_t)blockIdx.x * c;
    const bf16 *from = table + (int64_t)ids[blockIdx.x] * c;
    if (VEC)
        for (int64_t i = threadIdx.x; i < c / GROUP; i += blockDim.x) ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    else
        for (int64_t i = threadIdx.x; i < c; i += blockDim.x) to[i] = from[i];
}

// keys[t] = id, t
__global__ void __launch_bounds__(FLAT_THREADS) embed_keys_kernel(uint64_t *keys, const int32_t *ids, int64_t t) {
    int64_t i = (int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (i < t) keys[i] = (uint64_t)(uint32_t)ids[i] << 32 | (uint64_t)i;
}

constexpr int EMBED_THREADS = 128;
constexpr int EMBED_SLICE = 32; // sorted positions of a block: it adds up the runs that begin there, to their ends
constexpr int EMBED_LOADS = 16; // rows in flight a thread; a token that fills the tile has no other parallelism

// Thread: COLS columns; 2, so that a frequent token's rows are spread over as many threads as can be.
template <int COLS>
__global__ void __launch_bounds__(EMBED_THREADS)
embed_bwd_kernel(float *dtable, const bf16 *dy, const uint64_t *keys, int64_t t, int64_t c) {
    int lane = threadIdx.x % WARP;
    int64_t col = ((int64_t)blockIdx.y * EMBED_THREADS + threadIdx.x) * COLS;
    int64_t lo = (int64_t)blockIdx.x * EMBED_SLICE, hi = lo + EMBED_SLICE < t ? lo + EMBED_SLICE : t;
    int64_t p = lo + lane;
    unsigned heads = __ballot_sync(~0u, p < hi && (p == 0 || keys[p] >> 32 != keys[p - 1] >> 32));
    if (!heads) return;
    uint64_t last = keys[hi - 1] >> 32;
    uint64_t id = ~0ull;
    float acc[COLS];
    bool have = col < c;
    auto flush = [&] {
        if (have && id != ~0ull)
#pragma unroll
            for (int k = 0; k < COLS; k++) dtable[id * c + col + k] += acc[k];
    };
    int n = WARP; // positions of this round; fewer in the last
    for (int64_t i = lo + __ffs(heads) - 1; n == WARP; i += WARP) {
        uint64_t key = i + lane < t ? keys[i + lane] : ~0ull;
        n = __popc(__ballot_sync(~0u, i + lane < t && key >> 32 <= last));
        for (int base = 0; base < n; base += EMBED_LOADS) {
            __nv_bfloat162 v[EMBED_LOADS];
#pragma unroll
            for (int u = 0; u < EMBED_LOADS; u++) {
                int64_t row = (int64_t)(uint32_t)__shfl_sync(~0u, key, base + u);
                if (have && base + u < n) {
                    const bf16 *from = dy + row * c + col;
                    if (COLS == 2) v[u] = *(const __nv_bfloat162 *)from;
                    else v[u].x = *from;
                }
            }
#pragma unroll
            for (int u = 0; u < EMBED_LOADS; u++) {
                uint64_t now = __shfl_sync(~0u, key, base + u) >> 32;
                if (base + u >= n) continue;
                if (now != id) {
                    flush();
                    id = now;
#pragma unroll
                    for (int k = 0; k < COLS; k++) acc[k] = 0;
                }
                acc[0] += to_float(v[u].x);
                if (COLS == 2) acc[COLS - 1] += to_float(v[u].y);
            }
        }
    }
    flush();
}

// What CUB's sort of t keys may want besides its two buffers: counts of 4-byte digits by tile (1 KiB for each of its
// tiles, which have more than 1024 keys) and some KiB of histograms. CUB itself refuses too little.
static size_t sort_bytes(int64_t t) { return (size_t)t + (64 << 10); }

} // namespace ll

extern "C" int ll_embed_fwd(void *y, const void *table, const int32_t *ids, int64_t t, int64_t c, ll_stream s) {
    using namespace ll;
    if (t <= 0 || c <= 0) return cudaSuccess;
    auto kernel = aligned(c, y, table) ? embed_fwd_kernel<true> : embed_fwd_kernel<false>;
    kernel<<<(unsigned)t, c >= 2048 ? 256 : 64, 0, (cudaStream_t)s>>>((bf16 *)y, (const bf16 *)table, ids, c);
    return launched();
}

extern "C" size_t ll_embed_bwd_work(int64_t t) { return 2 * t * sizeof(uint64_t) + ll::sort_bytes(t); }

extern "C" int ll_embed_bwd(float *dtable, const void *dy, const int32_t *ids, int64_t t, int64_t c, int64_t v,
                            void *work, ll_stream s) {
    using namespace ll;
    if (t <= 0 || c <= 0) return cudaSuccess;
    cudaStream_t stream = (cudaStream_t)s;
    cub::DoubleBuffer<uint64_t> keys((uint64_t *)work, (uint64_t *)work + t);
    embed_keys_kernel<<<(unsigned)ceil_div(t, FLAT_THREADS), FLAT_THREADS, 0, stream>>>(keys.Current(), ids, t);
    int bits = 1;
    while (bits < 32 && (int64_t)1 << bits < v) bits++;
    size_t temp = sort_bytes(t);
    cudaError_t e = cub::DeviceRadixSort::SortKeys((uint64_t *)work + 2 * t, temp, keys, t, 32, 32 + bits, stream);
    if (e != cudaSuccess) return e;
    bool pairs = c % 2 == 0 && (uintptr_t)dy % 4 == 0;
    auto kernel = pairs ? embed_bwd_kernel<2> : embed_bwd_kernel<1>;
    dim3 grid((unsigned)ceil_div(t, EMBED_SLICE), (unsigned)ceil_div(c, EMBED_THREADS * (pairs ? 2 : 1)));
    kernel<<<grid, EMBED_THREADS, 0, stream>>>(dtable, (const bf16 *)dy, keys.Current(), t, c);
    return launched();
}
