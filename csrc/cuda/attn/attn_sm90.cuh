// What the attention kernels for Hopper share: their tiles and the order in which blocks take them.
#ifndef LONGLORA_ATTN_SM90_CUH
#define LONGLORA_ATTN_SM90_CUH

#include "attn.cuh"
#include "sm90.cuh"

namespace sm90 {

constexpr int BM = 128;          // rows of a tile that one block owns: queries, or keys for dk and dv
constexpr int WARPS = 8;         // that compute, 16 rows each
constexpr int THREADS = 3 * 128; // a warpgroup whose first thread copies, two that compute

// Which of the block's warpgroups a thread is in, as the compiler can see that a warp's threads agree.
__device__ __forceinline__ int warpgroup() { return __shfl_sync(0xffffffffu, threadIdx.x / 128, 0); }

// What a block's shared memory begins at: the first multiple of 1024 bytes, which a struct's alignas alone does not
// give. Its kernel asks for as much more.
constexpr int ALIGN = 1024;
__device__ __forceinline__ uint32_t aligned(const void *raw) {
    return (shared_address(raw) + ALIGN - 1) & ~(ALIGN - 1u);
}

// The block's n-th tile of total where they are dealt out, or -1 after the last. Every second round goes backwards, so
// that each block gets a like share of long and short tiles.
__device__ __forceinline__ int tile_at(int n, int total) {
    const int i = n * int(gridDim.x) + int(n % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
    return i < total ? i : -1;
}

// A tile of queries of one head, and the keys that they see.
struct Queries {
    int head, kv, shifted; // query head, its key/value head, its class
    int i0, first, last;   // first query of the tile; tokens of the first and last one
    int lo, keys;          // token of the first key; number of keys
};

__device__ __forceinline__ int query_tiles(const ll_attn_args &a) { return (int(a.t) + BM - 1) / BM * a.h; }

__device__ __forceinline__ Queries queries(const ll_attn_args &a, int tile) {
    const int blocks = (int(a.t) + BM - 1) / BM;
    Queries t;
    t.head = tile / blocks;
    t.kv = t.head / (a.h / a.hkv);
    t.shifted = ll_shifted(t.head, a.h);
    t.i0 = (blocks - 1 - tile % blocks) * BM; // the longest first
    t.first = int(a.q0) + t.i0;
    t.last = int(a.q0) + min(t.i0 + BM, int(a.t)) - 1;
    t.lo = ll_lo(a, t.first, t.shifted);
    t.keys = t.last + 1 - t.lo;
    return t;
}

// What one warpgroup's 64 rows of such a tile see, and of them the two rows that a thread holds.
struct Rows {
    int first, begin, end; // token of the first row; keys of the tile that any row sees, in whole blocks of keys
    int lo_last;           // lo of the last row
    int token, lo[2];      // token of the thread's first row, the other one is 8 after it; lo of both

    // Masks a block of scores from token `key` on, of which the thread holds columns col, col+1 of every 8.
    template <int N2> __device__ __forceinline__ void mask(float (&s)[N2], int key, int col) const {
        if (!ll_masked(first, key, key + 2 * N2, lo_last)) return;
#pragma unroll
        for (int i = 0; i < N2; i++) {
            const int j = i / 4 * 8 + i % 2, r = i % 4 / 2;
            if (j > token + 8 * r - key - col || j < lo[r] - key - col) s[i] = -INFINITY;
        }
    }
};

// Rows of warpgroup wg, thread's first row `row` of the tile; block: keys of a block.
__device__ __forceinline__ Rows rows_of(const ll_attn_args &a, const Queries &t, int wg, int row, int block) {
    Rows r;
    r.first = t.first + wg * 64;
    r.token = t.first + row;
    const int last = min(r.first + 63, t.last);
    r.lo_last = ll_lo(a, last, t.shifted);
    r.begin = 0;
    r.end = min(t.keys, r.first + 64 - t.lo);
    r.lo[0] = r.lo[1] = t.lo;
    if (r.lo_last != t.lo) {
        r.begin = (ll_lo(a, min(r.first, t.last), t.shifted) - t.lo) / block * block;
        r.lo[0] = ll_lo(a, min(r.token, last), t.shifted);
        r.lo[1] = ll_lo(a, min(r.token + 8, last), t.shifted);
    }
    return r;
}

// Launches a kernel of as many blocks as there are multiprocessors, or tiles if these are fewer.
template <class... P, class... A>
int launch(void (*kernel)(P...), const ll_device *d, int64_t tiles, int shared, cudaStream_t stream, const A &...args) {
    const int r = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    if (r) return r;
    kernel<<<int(tiles < d->multiprocessors ? tiles : d->multiprocessors), THREADS, shared, stream>>>(args...);
    return cudaGetLastError();
}

} // namespace sm90

#endif
