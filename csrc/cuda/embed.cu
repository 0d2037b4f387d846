// The embedding: ops.Embedding.
//
// Backward, tokens are sorted by id, equal ids in the order of t, and each id's rows are added up in that order by one
// thread a pair of columns: no atomic, the same bits every time. The sum starts at 0 and is added to the table's row,
// which may lie in page-locked host memory: then what is read and written goes over PCIe.
// 8192 tokens of a text-like distribution, width 4096, take 0.11 ms on an H100; of one token alone, 0.38 ms.
#include "device.cuh"

#include <cub/device/device_radix_sort.cuh>

namespace ll {

// One block a token.
template <bool VEC>
__global__ void embed_fwd_kernel(bf16 *y, const bf16 *table, const int32_t *ids, int64_t c, int64_t v) {
    bf16 *to = y + (int64_t)blockIdx.x * c;
    int64_t id = (uint32_t)ids[blockIdx.x];
    const bf16 *from = table + id * c;
    if (id >= v)
        for (int64_t i = threadIdx.x; i < c; i += blockDim.x) to[i] = from_float<bf16>(CUDART_NAN_F);
    else if (VEC)
        for (int64_t i = threadIdx.x; i < c / GROUP; i += blockDim.x) ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    else
        for (int64_t i = threadIdx.x; i < c; i += blockDim.x) to[i] = from[i];
}

// keys[t] = id, t; the id of what is no row is v
__global__ void __launch_bounds__(FLAT_THREADS)
embed_keys_kernel(uint64_t *keys, const int32_t *ids, int64_t t, int64_t v) {
    int64_t i = (int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (i >= t) return;
    uint64_t id = (uint32_t)ids[i];
    keys[i] = (id < v ? id : v) << 32 | (uint64_t)i;
}

constexpr int EMBED_THREADS = 128;
// Sorted positions of a block: it adds up the runs that begin there, to their ends. Also the rows that a thread has in
// flight: a token that fills the tile has no other parallelism.
constexpr int EMBED_SLICE = WARP;

// A thread takes COLS columns: 2, so that a frequent token's rows are spread over as many threads as can be.
template <int COLS>
__global__ void __launch_bounds__(EMBED_THREADS)
embed_bwd_kernel(float *dtable, const bf16 *dy, const uint64_t *keys, int64_t t, int64_t c, int64_t v) {
    int lane = threadIdx.x % WARP;
    int64_t col = ((int64_t)blockIdx.y * EMBED_THREADS + threadIdx.x) * COLS;
    int64_t lo = (int64_t)blockIdx.x * EMBED_SLICE, hi = lo + EMBED_SLICE < t ? lo + EMBED_SLICE : t;
    int64_t p = lo + lane;
    unsigned heads = __ballot_sync(~0u, p < hi && (p == 0 || keys[p] >> 32 != keys[p - 1] >> 32));
    if (!heads) return;
    bool have = col < c;
    uint64_t last = keys[hi - 1] >> 32, id = ~0ull;
    float acc[COLS] = {};
    auto flush = [&] {
        if (!have || id >= v) return; // none yet, or no row
        float *to = dtable + id * c + col;
        if (COLS == 2) { // at once: the row may lie in host memory
            float2 x = *(float2 *)to;
            x.x += acc[0], x.y += acc[COLS - 1];
            *(float2 *)to = x;
        } else {
            *to += acc[0];
        }
    };
    auto add = [&](__nv_bfloat162 x) {
        acc[0] += to_float(x.x);
        if (COLS == 2) acc[COLS - 1] += to_float(x.y);
    };
    auto position = [&](int64_t i) { return i + lane < t ? keys[i + lane] : ~0ull; };
    int64_t i = lo + __ffs(heads) - 1;
    uint64_t key = position(i);
    for (int n = WARP; n == WARP; i += WARP) { // n positions a round; fewer in the last
        n = __popc(__ballot_sync(~0u, key >> 32 <= last));
        __nv_bfloat162 row[WARP];
#pragma unroll
        for (int u = 0; u < WARP; u++) {
            const bf16 *from = dy + (int64_t)(uint32_t)__shfl_sync(~0u, key, u) * c + col;
            if (!have || u >= n) continue;
            if (COLS == 2) row[u] = *(const __nv_bfloat162 *)from;
            else row[u].x = *from;
        }
        uint64_t next = n == WARP ? position(i + WARP) : 0;
        if (n == WARP && __all_sync(~0u, key >> 32 == id)) { // nothing but the run that goes on
#pragma unroll
            for (int u = 0; u < WARP; u++) add(row[u]);
            key = next;
            continue;
        }
#pragma unroll
        for (int u = 0; u < WARP; u++) {
            uint64_t now = __shfl_sync(~0u, key, u) >> 32;
            if (u >= n) continue;
            if (now != id) {
                flush();
                id = now;
#pragma unroll
                for (int k = 0; k < COLS; k++) acc[k] = 0;
            }
            add(row[u]);
        }
        key = next;
    }
    flush();
}

// One block a row. Loads of a row are in flight together: they may take as long as PCIe does.
template <class T>
__global__ void __launch_bounds__(FLAT_THREADS)
copy_set_kernel(T *dst, const T *src, const uint64_t *set, int64_t first, int64_t c) {
    constexpr int LOADS = 4;
    int64_t row = blockIdx.x, bit = first + row;
    if (!(set[bit / 64] >> bit % 64 & 1)) return;
    for (int64_t i = threadIdx.x; i < c; i += LOADS * FLAT_THREADS) {
        T x[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            if (i + k * FLAT_THREADS < c) x[k] = src[row * c + i + k * FLAT_THREADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            if (i + k * FLAT_THREADS < c) dst[row * c + i + k * FLAT_THREADS] = x[k];
    }
}

// What CUB's sort of t keys may want besides its two buffers: counts of 4-byte digits by tile (1 KiB for each of its
// tiles, which have more than 1024 keys) and some KiB of histograms. CUB itself refuses too little.
static size_t sort_bytes(int64_t t) { return (size_t)t + (64 << 10); }

} // namespace ll

extern "C" int ll_embed_fwd(ll_device *, ll_stream s, const ll_embed_fwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    auto kernel = aligned(a->c, a->y, a->table) ? embed_fwd_kernel<true> : embed_fwd_kernel<false>;
    kernel<<<(unsigned)a->t, a->c >= 2048 ? 256 : 64, 0, (cudaStream_t)s>>>((bf16 *)a->y, (const bf16 *)a->table,
                                                                            a->ids, a->c, a->v);
    return launched();
}

extern "C" int ll_copy_set(ll_device *, ll_stream s, const ll_copy_set_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->c <= 0) return cudaSuccess;
    cudaStream_t stream = (cudaStream_t)s;
    unsigned rows = (unsigned)a->rows;
    if (a->c % 4 == 0 && ((uintptr_t)a->dst | (uintptr_t)a->src) % 16 == 0)
        copy_set_kernel<<<rows, FLAT_THREADS, 0, stream>>>((float4 *)a->dst, (const float4 *)a->src, a->set, a->first,
                                                           a->c / 4);
    else
        copy_set_kernel<<<rows, FLAT_THREADS, 0, stream>>>(a->dst, a->src, a->set, a->first, a->c);
    return launched();
}

extern "C" size_t ll_embed_bwd_work(int64_t t) { return 2 * t * sizeof(uint64_t) + ll::sort_bytes(t); }

extern "C" int ll_embed_bwd(ll_device *, ll_stream s, const ll_embed_bwd_args *a) {
    using namespace ll;
    if (a->t <= 0 || a->c <= 0) return cudaSuccess;
    cudaStream_t stream = (cudaStream_t)s;
    uint64_t *const work = (uint64_t *)a->work;
    cub::DoubleBuffer<uint64_t> keys(work, work + a->t);
    embed_keys_kernel<<<(unsigned)ceil_div(a->t, FLAT_THREADS), FLAT_THREADS, 0, stream>>>(keys.Current(), a->ids,
                                                                                           a->t, a->v);
    int bits = 1;
    while (bits < 32 && (int64_t)1 << bits <= a->v) bits++; // v itself is an id that is no row
    size_t temp = sort_bytes(a->t);
    cudaError_t e = cub::DeviceRadixSort::SortKeys(work + 2 * a->t, temp, keys, a->t, 32, 32 + bits, stream);
    if (e != cudaSuccess) return e;
    bool pairs = a->c % 2 == 0 && (uintptr_t)a->dy % 4 == 0 && (uintptr_t)a->dtable % 8 == 0;
    auto kernel = pairs ? embed_bwd_kernel<2> : embed_bwd_kernel<1>;
    dim3 grid((unsigned)ceil_div(a->t, EMBED_SLICE), (unsigned)ceil_div(a->c, EMBED_THREADS * (pairs ? 2 : 1)));
    kernel<<<grid, EMBED_THREADS, 0, stream>>>(a->dtable, (const bf16 *)a->dy, keys.Current(), a->t, a->c, a->v);
    return launched();
}
