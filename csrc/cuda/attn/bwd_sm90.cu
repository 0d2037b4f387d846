// Segmented causal attention for Hopper, backward (FlashAttention-2, arXiv 2307.08691, alg. 2): five products a pair of
// blocks. A block takes tiles of 128 keys of one key/value head, walks over the queries that see them and owns their
// dk and dv. One thread copies tiles to shared memory, two warpgroups of 64 keys each compute, and a thread for each of
// them copies what they made out of shared memory.
//
// dq of a block of queries is a sum over the tiles of keys that it sees, which add to it one after the other in
// descending order, so the bits are always the same: a counter says how many have. A tile begins at its diagonal,
// so that tiles that run together walk abreast, each a little behind the one above it. Tiles are taken in that order by a
// ticket: whom one waits for is running or done.
#include "attn_sm90.cuh"

namespace {

using namespace sm90;

constexpr int BQ = 64; // queries of a block

// A tile of keys of one key/value head, and the queries that see them.
struct Keys {
    int kv, first, last; // key/value head, -1 after the last tile; tokens of the first and last key
    int h0, heads;       // its first query head and their number
    int block, end[2];   // the first block of queries; the end of those of the plain and of the shifted heads
};

// A ring of two slots as one side sees it that has used n of them.
__device__ __forceinline__ int slot(int n) { return n % 2; }
__device__ __forceinline__ uint32_t parity(int n) { return n / 2 % 2; }

// What lies in shared memory. What leaves it does so in pieces (64,D/2) float32: a block's dq is one of each warpgroup,
// the dk and dv of a tile are two of each.
template <int D> struct Shared {
    static constexpr int KV = BM * D * 2, Q = BQ * D * 2, DS = BM * BQ * 2, PIECE = 64 * D / 2 * 4, STATS = 2 * BQ * 4; // bytes
    static constexpr int k = 0, v = KV, q = 2 * KV, dout = q + 2 * Q, ds = dout + 2 * Q;
    static constexpr int out = ds + DS, stats = out + 4 * PIECE, bars = stats + 2 * STATS, tiles = bars + 8 * 22;
    static constexpr int bytes = tiles + 2 * int(sizeof(Keys)) + 1024; // the base is aligned by hand
};

// The work memory: a ticket; how many tiles of keys have added to each piece of dq, and these pieces, as the threads hold
// them; lse·log2(e) and delta of every query, (2,H,stride).
struct Work {
    int *ticket, *added;
    float *dq, *stats;
    int blocks, stride; // of queries; between heads
    int64_t zeroed, bytes;
};

__host__ __device__ inline Work work_of(const ll_attn_args &a) {
    Work w;
    w.blocks = int(a.t + BQ - 1) / BQ;
    w.stride = int(a.t + 3) / 4 * 4;
    const int64_t pieces = int64_t(2) * w.blocks * a.h, dq = pieces * BQ * a.d / 2 * 4;
    char *const p = static_cast<char *>(a.work);
    w.zeroed = 256 + (4 * pieces + 255) / 256 * 256;
    w.ticket = reinterpret_cast<int *>(p);
    w.added = reinterpret_cast<int *>(p + 256);
    w.dq = reinterpret_cast<float *>(p + w.zeroed);
    w.stats = reinterpret_cast<float *>(p + w.zeroed + dq);
    w.bytes = w.zeroed + dq + int64_t(8) * a.h * w.stride;
    return w;
}

__device__ __forceinline__ int key_blocks(const ll_attn_args &a) { return int(a.q0 + a.t - a.k0 + BM - 1) / BM; }

// Tile number `tile`, the last keys first; false where nothing sees its keys.
__device__ __forceinline__ bool keys_of(Keys *t, const ll_attn_args &a, int tile) {
    const int blocks = key_blocks(a), q0 = int(a.q0), end = q0 + int(a.t);
    t->kv = tile / blocks;
    t->heads = a.h / a.hkv;
    t->h0 = t->kv * t->heads;
    t->first = ll_first_key(a, t->kv) + (blocks - 1 - tile % blocks) * BM;
    if (t->first >= end) return false;
    t->last = min(t->first + BM, end) - 1;
    t->block = max(0, t->first - q0) / BQ;
    const bool has[2] = {!ll_shifted(t->h0, a.h), bool(ll_shifted(t->h0 + t->heads - 1, a.h))}; // heads of the class
#pragma unroll
    for (int c = 0; c < 2; c++) t->end[c] = has[c] ? (min(end, ll_seg(a, t->last, c).hi) - q0 + BQ - 1) / BQ : 0;
    return max(t->end[0], t->end[1]) > t->block;
}

__device__ __forceinline__ void put(volatile Keys *to, const Keys &t) {
    to->kv = t.kv, to->first = t.first, to->last = t.last, to->h0 = t.h0, to->heads = t.heads, to->block = t.block;
    to->end[0] = t.end[0], to->end[1] = t.end[1];
}

// Waits until *p is x; what the thread that set it had seen, this thread then sees.
__device__ __forceinline__ void await(const int *p, int x) {
    int y;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(y) : "l"(p) : "memory");
    while (y != x);
}
__device__ __forceinline__ void announce(int *p, int x) {
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t at, float x, float y) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(x), "f"(y) : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t at, float x, float y, float z, float w) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(x), "f"(y), "f"(z), "f"(w) : "memory");
}

// Part p of an array's parts of N.
template <int N, class T, int M> __device__ __forceinline__ T (&part(T (&x)[M], int p))[N] {
    return *reinterpret_cast<T(*)[N]>(&x[p * N]);
}

template <int D>
__global__ void __launch_bounds__(THREADS, 1)
    attn_bwd(const __grid_constant__ CUtensorMap qmap, const __grid_constant__ CUtensorMap domap,
             const __grid_constant__ CUtensorMap kmap, const __grid_constant__ CUtensorMap vmap,
             const __grid_constant__ CUtensorMap statsmap, const __grid_constant__ CUtensorMap dkmap,
             const __grid_constant__ CUtensorMap dvmap, const __grid_constant__ ll_attn_args a) {
    using L = Shared<D>;
    constexpr int PIECE = L::PIECE;
    extern __shared__ char raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u;
    const uint32_t ks = base + L::k, vs = base + L::v, qs = base + L::q, dos = base + L::dout, dss = base + L::ds;
    const uint32_t full = base + L::bars, empty = full + 16, k_full = empty + 16, k_empty = k_full + 8;
    const uint32_t v_full = k_empty + 8, v_empty = v_full + 8, ds_full = v_empty + 8, ds_empty = ds_full + 8;
    const uint32_t out_full = ds_empty + 8, out_empty = out_full + 32; // two slots a warpgroup
    const uint32_t tile_full = out_empty + 32, tile_empty = tile_full + 16;
    char *const aligned = raw + (base - shared_address(raw));
    volatile Keys *const tiles = reinterpret_cast<Keys *>(aligned + L::tiles);
    if (threadIdx.x == 0) {
        bars_init<2>(full, empty, 3, WARPS);
        bars_init<1>(k_full, k_empty, 1, WARPS);
        bars_init<1>(v_full, v_empty, 1, WARPS);
        bars_init<1>(ds_full, ds_empty, WARPS, WARPS);
        bars_init<4>(out_full, out_empty, WARPS / 2, 1);
        bars_init<2>(tile_full, tile_empty, 1, WARPS + 2);
        bar_init_done();
    }
    __syncthreads();

    const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0), lane = threadIdx.x % 32;
    int m = 0; // tiles taken
    if (group == 0) {
        fewer_registers<24>();
        if (lane != 0 || threadIdx.x > 64) return;
        if (threadIdx.x == 0) { // copies tiles in
            const int total = key_blocks(a) * a.hkv;
            for (int n = 0, tile = 0; tile < total;) {
                tile = atomicAdd(work_of(a).ticket, 1);
                Keys t;
                t.kv = -1;
                if (tile < total && !keys_of(&t, a, tile)) continue;
                bar_wait(tile_empty + 8 * slot(m), parity(m) ^ 1);
                put(tiles + slot(m), t);
                bar_arrive(tile_full + 8 * slot(m));
                if (t.kv < 0) break;
                bool fresh = true;
                for (int h = t.h0; h < t.h0 + t.heads; h++) {
                    const int end = ll_shifted(h, a.h) ? t.end[1] : t.end[0];
                    for (int i = t.block; i < end; i++, n++) {
                        const uint32_t bar = full + 8 * slot(n);
                        bar_wait(empty + 8 * slot(n), parity(n) ^ 1);
                        copy_tile<D, BQ>(qs + slot(n) * L::Q, &qmap, bar, h, i * BQ);
                        copy_tile<D, BQ>(dos + slot(n) * L::Q, &domap, bar, h, i * BQ);
                        bar_expect(bar, L::STATS);
                        copy_box(base + L::stats + slot(n) * L::STATS, &statsmap, bar, i * BQ, h, 0);
                        if (!fresh) continue;
                        fresh = false;
                        bar_wait(k_empty, m % 2 ^ 1);
                        copy_tile<D, BM>(ks, &kmap, k_full, t.kv, t.first - int(a.k0));
                        bar_wait(v_empty, m % 2 ^ 1);
                        copy_tile<D, BM>(vs, &vmap, v_full, t.kv, t.first - int(a.k0));
                    }
                }
                m++;
            }
        } else { // copies results of one warpgroup out
            const int wg = threadIdx.x / 32 - 1;
            const uint32_t filled = out_full + 16 * wg, drained = out_empty + 16 * wg, room = base + L::out + 2 * wg * PIECE;
            for (int n = 0;; m++) {
                bar_wait(tile_full + 8 * slot(m), parity(m));
                volatile const Keys &t = tiles[slot(m)];
                if (t.kv < 0) break;
                for (int h = t.h0; h < t.h0 + t.heads; h++) {
                    const int end = ll_shifted(h, a.h) ? t.end[1] : t.end[0];
                    for (int i = t.block; i < end; i++, n++) {
                        // its turn among the tiles that the block's last query sees, and those before
                        const int turn = (int(a.q0) + min((i + 1) * BQ, int(a.t)) - 1 - t.first) / BM;
                        const Work w = work_of(a);
                        const int64_t piece = (int64_t(h) * w.blocks + i) * 2 + wg;
                        bar_wait(filled + 8 * slot(n), parity(n));
                        await(w.added + piece, turn);
                        fence_global();
                        bulk_store(w.dq + piece * (PIECE / 4), room + slot(n) * PIECE, PIECE, turn > 0);
                        store_commit();
                        stores_read();
                        bar_arrive(drained + 8 * slot(n));
                        stores_done();
                        fence_global();
                        announce(w.added + piece, turn + 1);
                    }
                }
                for (int p = 0; p < 4; p++, n++) { // half the columns each, of dk and then of dv
                    bar_wait(filled + 8 * slot(n), parity(n));
                    const int row = t.first - int(a.k0) + wg * 64;
                    const bool add = !a.fresh || row < int(a.q0 - a.k0);
                    for (int c = 0; c < D / 2; c += 32)
                        store_box(p < 2 ? &dkmap : &dvmap, room + slot(n) * PIECE + c * 64 * 4, p % 2 * D / 2 + c, t.kv, row, add);
                    store_commit();
                    stores_read();
                    bar_arrive(drained + 8 * slot(n));
                }
                bar_arrive(tile_empty + 8 * slot(m));
            }
            stores_done();
        }
    } else {
        more_registers<240>();
        const int wg = group - 1, row = wg * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
        const int col = lane % 4 * 2; // this thread holds columns col, col+1 of every 8, in rows row and row+8
        const float c = a.scale * LOG2E;
        auto release = [&](uint32_t bar) { if (lane == 0) bar_arrive(bar); };
        // Waits for room for piece o of what this warpgroup makes, and gives it away when it is written.
        auto take = [&](int o) {
            bar_wait(out_empty + 8 * (2 * wg + slot(o)), parity(o) ^ 1);
            return base + L::out + (2 * wg + slot(o)) * PIECE;
        };
        auto give = [&](int o) {
            fence_shared();
            __syncwarp();
            release(out_full + 8 * (2 * wg + slot(o)));
        };
        // Gives a piece of dk or dv away, in boxes of 32 columns in the copy engine's 128-byte swizzle. Other threads than
        // with dq write a place, and compute-sanitizer does not see that the copying thread stands between them: hence
        // the barriers before and after.
        auto sum = [&](int o, const float (&d)[D / 4], float scale) {
            const int l = lane_here();
            const uint32_t at = take(o) + row % 64 * 128 + l % 2 * 8;
#pragma unroll
            for (int i = 0; i < D / 4; i += 4) {
                const uint32_t x = at + i / 16 * (64 * 32 * 4) + (((i / 4 % 4 * 2 + l % 4 / 2) ^ l / 4) << 4);
                store_shared(x, d[i] * scale, d[i + 1] * scale);
                store_shared(x + 8 * 128, d[i + 2] * scale, d[i + 3] * scale);
            }
            give(o);
        };

        for (int n = 0;; m++) { // steps done
            bar_wait(tile_full + 8 * slot(m), parity(m));
            volatile const Keys &t = tiles[slot(m)];
            if (t.kv < 0) break;
            const int first = t.first + wg * 64; // of this warpgroup's keys
            // Rows are keys, columns queries: so the probabilities lie in registers as the next products want them.
            float dk[D / 2], dv[D / 2], s[BQ / 2], dp[BQ / 2];
            uint32_t pb[BQ / 4], ds[BQ / 4];
#pragma unroll
            for (int i = 0; i < D / 2; i++) dk[i] = dv[i] = 0;
            bool held = false; // the last step's slot, by its product
            auto finish = [&] {
                mma_wait<0>();
                settle(dk);
                settle(ds);
                if (held) release(empty + 8 * slot(n - 1));
                held = false;
            };

            const uint32_t k = ks + wg * 64 * 128, v = vs + wg * 64 * 128;
            bar_wait(k_full, m % 2);
            bar_wait(v_full, m % 2);
            for (int h = t.h0; h < t.h0 + t.heads; h++) {
                const int shifted = ll_shifted(h, a.h), end = int(a.q0) + (shifted ? t.end[1] : t.end[0]) * BQ;
                // A key is seen by the queries from it to the end of its segment; hi of the first and last key here.
                int q = int(a.q0) + t.block * BQ;
                if (q >= end) continue;
                const int hi_first = ll_seg(a, min(first, t.last), shifted).hi;
                const int hi_last = ll_seg(a, min(first + 63, t.last), shifted).hi;
                for (; q < end; q += BQ, n++) {
                    const uint32_t qt = qs + slot(n) * L::Q, dot = dos + slot(n) * L::Q;
                    const bool seen = q + BQ > first && q < hi_last; // else its queries see only the other warpgroup's keys
                    bar_wait(full + 8 * slot(n), parity(n));
                    if (seen) {
                        mma_rows<D>(s, k, BM * 128, qt, BQ * 128);
                        mma_rows<D>(dp, v, BM * 128, dot, BQ * 128);
                        mma_wait<1>();
                        settle(s);
                        settle(dk);
                        settle(ds);
                        if (held) release(empty + 8 * slot(n - 1));
                        if (q < first + 63 || q + BQ > hi_first) {
                            const int key = t.first + row - q - col, last = t.last;
#pragma unroll
                            for (int x = 0; x < 2; x++) {
                                const int hi = ll_seg(a, min(t.first + row + 8 * x, last), shifted).hi - q - col;
#pragma unroll
                                for (int i = 2 * x; i < BQ / 2; i += i % 2 ? 3 : 1) {
                                    const int j = i / 4 * 8 + i % 2;
                                    if (j < key + 8 * x || j >= hi) s[i] = -INFINITY;
                                }
                            }
                        }
                        // Past the last query q, dout and stats are zeros: p = 1 adds nothing.
                        const float *const lse = reinterpret_cast<const float *>(aligned + L::stats) + slot(n) * 2 * BQ + col;
                        const float *const delta = lse + BQ;
#pragma unroll
                        for (int i = 0; i < BQ / 2; i += 4) {
                            const float2 x = *reinterpret_cast<const float2 *>(lse + 2 * i);
                            s[i] = exp2_fast(fmaf(s[i], c, -x.x));
                            s[i + 1] = exp2_fast(fmaf(s[i + 1], c, -x.y));
                            s[i + 2] = exp2_fast(fmaf(s[i + 2], c, -x.x));
                            s[i + 3] = exp2_fast(fmaf(s[i + 3], c, -x.y));
                        }
                        pack(pb, s);
                        mma_wait<0>();
                        settle(dp);
#pragma unroll
                        for (int i = 0; i < BQ / 2; i += 4) {
                            const float2 x = *reinterpret_cast<const float2 *>(delta + 2 * i);
                            s[i] *= dp[i] - x.x;
                            s[i + 1] *= dp[i + 1] - x.y;
                            s[i + 2] *= dp[i + 2] - x.x;
                            s[i + 3] *= dp[i + 3] - x.y;
                        }
                        pack(ds, s);
                        mma_cols<BQ>(dv, pb, dot, BQ * 128);
                    } else {
                        finish();
#pragma unroll
                        for (int i = 0; i < BQ / 4; i++) ds[i] = 0;
                    }
                    bar_wait(ds_empty, n % 2 ^ 1);
                    store_panels(dss, BM * 128, row - lane / 4, ds);
                    fence_shared();
                    __syncwarp();
                    release(ds_full);
                    bar_wait(ds_full, n % 2);
                    float dq[D / 4]; // of half the columns
                    mma_both<BM>(dq, dss, ks + (D == 64 ? wg * 64 : wg * BM * 128));
                    if (seen) {
                        mma_cols<BQ>(dk, ds, qt, BQ * 128);
                        mma_wait<1>();
                    } else {
                        mma_wait<0>();
                    }
                    settle(dq);
                    settle(dv);
                    settle(pb);
                    release(ds_empty);
                    const uint32_t at = take(n + 4 * m) + threadIdx.x % 128 * 16;
#pragma unroll
                    for (int i = 0; i < D / 4; i += 4) store_shared(at + i * 512, dq[i], dq[i + 1], dq[i + 2], dq[i + 3]);
                    give(n + 4 * m);
                    held = true;
                }
            }
            finish();
            release(k_empty);
            release(v_empty);
            release(tile_empty + 8 * slot(m));
            warpgroup_sync(1 + wg);
            sum(n + 4 * m, part<D / 4>(dk, 0), a.scale);
            sum(n + 4 * m + 1, part<D / 4>(dk, 1), a.scale);
            sum(n + 4 * m + 2, part<D / 4>(dv, 0), 1);
            sum(n + 4 * m + 3, part<D / 4>(dv, 1), 1);
            warpgroup_sync(1 + wg);
        }
    }
}

// ---- before and after -----------------------------------------------------------------------------------

// The statistics of queries, D/8 threads each: lse·log2(e) and delta, the sum over D of dout·o.
template <int D> __global__ void __launch_bounds__(256) attn_stats(const __grid_constant__ ll_attn_args a) {
    const int64_t at = int64_t(blockIdx.x) * 256 + threadIdx.x, x = at / (D / 8); // token·H + head
    if (x >= a.t * a.h) return;
    const uint4 u = static_cast<const uint4 *>(a.o)[at], v = static_cast<const uint4 *>(a.dout)[at];
    const uint32_t us[4] = {u.x, u.y, u.z, u.w}, vs[4] = {v.x, v.y, v.z, v.w};
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 f = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&us[i]));
        const float2 g = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&vs[i]));
        sum = fmaf(f.x, g.x, fmaf(f.y, g.y, sum));
    }
#pragma unroll
    for (int m = D / 16; m; m /= 2) sum += __shfl_xor_sync(~0u, sum, m);
    if (threadIdx.x % (D / 8)) return;
    const Work w = work_of(a);
    const int64_t t = x / a.h, h = x % a.h;
    w.stats[h * w.stride + t] = a.lse[h * a.t + t] * LOG2E;
    w.stats[(a.h + h) * w.stride + t] = sum;
}

// dq as bf16 from its pieces, a block of threads a piece.
template <int D> __global__ void __launch_bounds__(128) attn_dq(const __grid_constant__ ll_attn_args a) {
    const Work w = work_of(a);
    const int piece = blockIdx.x, h = piece / 2 / w.blocks, block = piece / 2 % w.blocks, wg = piece % 2;
    const float4 *const from = reinterpret_cast<const float4 *>(w.dq) + int64_t(piece) * (BQ * D / 8) + threadIdx.x;
    float d[D / 4];
#pragma unroll
    for (int i = 0; i < D / 16; i++) {
        const float4 x = from[128 * i];
        d[4 * i] = x.x * a.scale, d[4 * i + 1] = x.y * a.scale, d[4 * i + 2] = x.z * a.scale, d[4 * i + 3] = x.w * a.scale;
    }
    const int64_t row = block * BQ + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    __nv_bfloat16 *const out = static_cast<__nv_bfloat16 *>(a.dq) + (row * a.h + h) * D + wg * (D / 2);
    store_rows<D / 2>(row < a.t ? out : nullptr, row + 8 < a.t ? out + int64_t(8) * a.h * D : nullptr, d);
}

template <int D> int backward(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    using L = Shared<D>;
    const Work w = work_of(*a);
    const int64_t end = a->q0 + a->t - a->k0; // rows after the last query's are never keys
    CUtensorMap q, dout, k, v, stats, dk, dv;
    int r = tensor_map(device, &q, a->q, a->t, a->h, D, BQ);
    if (!r) r = tensor_map(device, &dout, a->dout, a->t, a->h, D, BQ);
    if (!r) r = tensor_map(device, &k, a->k, end, a->hkv, D, BM);
    if (!r) r = tensor_map(device, &v, a->v, end, a->hkv, D, BM);
    if (!r) r = stats_map(device, &stats, w.stats, a->t, w.stride, a->h, BQ);
    if (!r) r = sums_map(device, &dk, a->dk, end, a->hkv, D, 64);
    if (!r) r = sums_map(device, &dv, a->dv, end, a->hkv, D, 64);
    // Of the rows to be written, these may lie in one box with rows that are added to.
    const int64_t own = a->q0 - a->k0, row = int64_t(a->hkv) * D, mixed = a->fresh && own > 0 ? (a->t < 63 ? a->t : 63) * row : 0;
    if (!r && mixed) r = cudaMemsetAsync(a->dk + own * row, 0, mixed * sizeof(float), stream);
    if (!r && mixed) r = cudaMemsetAsync(a->dv + own * row, 0, mixed * sizeof(float), stream);
    if (!r) r = cudaMemsetAsync(a->work, 0, w.zeroed, stream);
    if (r) return r;
    attn_stats<D><<<unsigned((a->t * a->h * (D / 8) + 255) / 256), 256, 0, stream>>>(*a);
    r = launch(attn_bwd<D>, device, (end + BM - 1) / BM * a->hkv, L::bytes, stream, q, dout, k, v, stats, dk, dv, *a);
    if (r) return r;
    attn_dq<D><<<2 * w.blocks * a->h, 128, 0, stream>>>(*a);
    return cudaGetLastError();
}

} // namespace

size_t ll_attn_bwd_sm90_work(const ll_attn_args *a) { return work_of(*a).bytes; }

int ll_attn_bwd_sm90(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    if (a->d == 128) return backward<128>(device, stream, a);
    if (a->d == 64) return backward<64>(device, stream, a);
    return cudaErrorInvalidValue;
}
