// Segmented causal attention for Hopper, backward (FlashAttention-2, arXiv 2307.08691, alg. 2, as two kernels so
// that no sum needs atomics): dq and delta over tiles of queries, then dk and dv over tiles of keys. Scores and
// their gradients are made twice, seven products instead of five; every sum has one owner and a fixed order.
// In each block one thread copies tiles to shared memory and two warpgroups compute.
#include "attn_sm90.cuh"

namespace {

using namespace sm90;

// The work memory: lse·log2(e) and delta of every query, (2,H,stride) float32; dq writes them, dk and dv read them.
__host__ __device__ inline int64_t stats_stride(const ll_attn_args &a) { return (a.t + 3) / 4 * 4; }

// ---- dq -----------------------------------------------------------------------------------------------

template <int D, int BN, int STAGES, int QSTAGES> struct QShared {
    static constexpr int Q = BM * D * 2, KV = BN * D * 2; // bytes
    static constexpr int q = 0, dout = QSTAGES * Q, k = 2 * QSTAGES * Q, v = k + STAGES * KV, bars = v + STAGES * KV;
    static constexpr int bytes = bars + 8 * (2 * QSTAGES + 4 * STAGES) + 1024; // the base is aligned by hand
};

// This lane's part of the sum over D of a row of x·y: every fourth 16 bytes.
template <int D> __device__ __forceinline__ float part_dot(const __nv_bfloat16 *x, const __nv_bfloat16 *y) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < D / 32; i++) {
        const int at = 32 * i + threadIdx.x % 4 * 8;
        const uint4 a = *reinterpret_cast<const uint4 *>(x + at), b = *reinterpret_cast<const uint4 *>(y + at);
        const uint32_t av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float2 f = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&av[j]));
            const float2 g = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&bv[j]));
            sum = fmaf(f.x, g.x, fmaf(f.y, g.y, sum));
        }
    }
    return sum;
}

template <int D, int BN, int STAGES, int QSTAGES>
__global__ void __launch_bounds__(THREADS, 1)
    attn_dq(const __grid_constant__ CUtensorMap qmap, const __grid_constant__ CUtensorMap domap,
            const __grid_constant__ CUtensorMap kmap, const __grid_constant__ CUtensorMap vmap,
            const __grid_constant__ ll_attn_args a) {
    using L = QShared<D, BN, STAGES, QSTAGES>;
    extern __shared__ char raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u;
    const uint32_t qs = base + L::q, dos = base + L::dout, ks = base + L::k, vs = base + L::v;
    const uint32_t q_full = base + L::bars, q_empty = q_full + 8 * QSTAGES, k_full = q_empty + 8 * QSTAGES;
    const uint32_t k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES;
    if (threadIdx.x == 0) {
        bars_init<QSTAGES>(q_full, q_empty, 2, WARPS);
        bars_init<STAGES>(k_full, k_empty, 1, WARPS);
        bars_init<STAGES>(v_full, v_empty, 1, WARPS);
        bar_init_done();
    }
    __syncthreads();

    const int total = query_tiles(a), group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
    Ring<QSTAGES> qr;
    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x != 0) return;
        Ring<STAGES> r;
        for (int n = 0, tile; (tile = tile_at(n, total)) >= 0; n++) {
            const Queries t = queries(a, tile);
            bar_wait(q_empty + 8 * qr.slot, qr.parity ^ 1);
            copy_tile<D, BM>(qs + qr.slot * L::Q, &qmap, q_full + 8 * qr.slot, t.head, t.i0);
            copy_tile<D, BM>(dos + qr.slot * L::Q, &domap, q_full + 8 * qr.slot, t.head, t.i0);
            qr.next();
            for (int j = 0; j < t.keys; j += BN, r.next()) {
                const int row = t.lo - int(a.k0) + j;
                bar_wait(k_empty + 8 * r.slot, r.parity ^ 1);
                copy_tile<D, BN>(ks + r.slot * L::KV, &kmap, k_full + 8 * r.slot, t.kv, row);
                bar_wait(v_empty + 8 * r.slot, r.parity ^ 1);
                copy_tile<D, BN>(vs + r.slot * L::KV, &vmap, v_full + 8 * r.slot, t.kv, row);
            }
        }
    } else {
        more_registers<240>();
        const int wg = group - 1, lane = threadIdx.x % 32, row = wg * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
        const int col = lane % 4 * 2; // this thread holds columns col, col+1 of every 8, in rows row and row+8
        const float c = a.scale * LOG2E;
        auto release = [&](uint32_t bar) { if (lane == 0) bar_arrive(bar); };

        Ring<STAGES> kr, vr;
        for (int n = 0, tile; (tile = tile_at(n, total)) >= 0; n++) {
            const Queries t = queries(a, tile);
            const Rows rows = rows_of(a, t, wg, row, BN);
            float dq[D / 2], s[BN / 2], dp[BN / 2];
            uint32_t ds[BN / 4];
#pragma unroll
            for (int i = 0; i < D / 2; i++) dq[i] = 0;
            // A block of keys that only the other warpgroup sees.
            auto skip = [&] {
                bar_wait(k_full + 8 * kr.slot, kr.parity);
                release(k_empty + 8 * kr.slot);
                kr.next();
                bar_wait(v_full + 8 * vr.slot, vr.parity);
                release(v_empty + 8 * vr.slot);
                vr.next();
            };
            int j = 0;
            for (; j < rows.begin; j += BN) skip();

            float lse[2] = {INFINITY, INFINITY}, delta[2] = {0, 0}; // p = 0 in rows past the last query
            const int64_t token = int64_t(a.h) * D;                 // elements between tokens
            const int i = t.i0 + row, left = int(a.t) - i;          // rows left in the tile
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int64_t x = int64_t(min(i + 8 * r, int(a.t) - 1)) * token + t.head * D;
                const float d = quad_sum(part_dot<D>(static_cast<const __nv_bfloat16 *>(a.o) + x,
                                                     static_cast<const __nv_bfloat16 *>(a.dout) + x));
                if (left <= 8 * r) continue;
                lse[r] = a.lse[int64_t(t.head) * a.t + i + 8 * r] * LOG2E;
                delta[r] = d;
                float *const stats = static_cast<float *>(a.work) + t.head * stats_stride(a) + i + 8 * r;
                if (lane % 4 == 0) stats[0] = lse[r];
                if (lane % 4 == 1) stats[a.h * stats_stride(a)] = d;
            }

            const uint32_t q = qs + qr.slot * L::Q + wg * 64 * 128, dout = dos + qr.slot * L::Q + wg * 64 * 128;
            bar_wait(q_full + 8 * qr.slot, qr.parity);
            uint32_t held = 0; // the barrier of the key slot that the last dq product reads
            for (; j < rows.end; j += BN) {
                bar_wait(k_full + 8 * kr.slot, kr.parity);
                mma_rows<D>(s, q, BM * 128, ks + kr.slot * L::KV, BN * 128);
                bar_wait(v_full + 8 * vr.slot, vr.parity);
                mma_rows<D>(dp, dout, BM * 128, vs + vr.slot * L::KV, BN * 128);
                mma_wait<1>();
                settle(s);
                settle(dq);
                settle(ds);
                if (held) release(held);
                rows.mask(s, t.lo + j, col);
#pragma unroll
                for (int i = 0; i < BN / 2; i++) s[i] = exp2_fast(fmaf(s[i], c, -lse[i % 4 / 2]));
                mma_wait<0>();
                settle(dp);
                release(v_empty + 8 * vr.slot);
                vr.next();
#pragma unroll
                for (int i = 0; i < BN / 2; i++) s[i] *= dp[i] - delta[i % 4 / 2];
                pack(ds, s);
                mma_cols<BN>(dq, ds, ks + kr.slot * L::KV, BN * 128);
                held = k_empty + 8 * kr.slot;
                kr.next();
            }
            release(q_empty + 8 * qr.slot);
            qr.next();
            mma_wait<0>();
            settle(dq);
            settle(ds);
            release(held);
            for (; j < t.keys; j += BN) skip();

#pragma unroll
            for (int i = 0; i < D / 2; i++) dq[i] *= a.scale;
            __nv_bfloat16 *const out = static_cast<__nv_bfloat16 *>(a.dq) + i * token + t.head * D;
            store_rows<D>(left > 0 ? out : nullptr, left > 8 ? out + 8 * token : nullptr, dq);
        }
    }
}

// ---- dk, dv -------------------------------------------------------------------------------------------

template <int D, int BQ, int STAGES, int KSTAGES> struct KShared {
    static constexpr int KV = BM * D * 2, Q = BQ * D * 2, STATS = 2 * BQ * 4; // bytes
    static constexpr int k = 0, v = KSTAGES * KV, q = 2 * KSTAGES * KV, dout = q + STAGES * Q;
    static constexpr int stats = dout + STAGES * Q, bars = stats + STAGES * STATS;
    static constexpr int bytes = bars + 8 * 2 * (KSTAGES + STAGES) + 1024; // the base is aligned by hand
};

// A tile of keys of one key/value head, and the queries that see them.
struct Keys {
    int kv, first, last; // key/value head; tokens of the first and last key
    int h0, heads;       // its first query head and their number
    int q, end[2];       // queries of the plain and of the shifted heads: tokens [q, end)

    __device__ __forceinline__ bool empty() const { return max(end[0], end[1]) <= q; }
};

__device__ __forceinline__ int key_blocks(const ll_attn_args &a) { return int(a.q0 + a.t - a.k0 + BM - 1) / BM; }

__device__ __forceinline__ Keys keys_of(const ll_attn_args &a, int tile) {
    const int blocks = key_blocks(a), q0 = int(a.q0), end = q0 + int(a.t);
    Keys t;
    t.kv = tile / blocks;
    t.heads = a.h / a.hkv;
    t.h0 = t.kv * t.heads;
    t.first = ll_first_key(a, t.kv) + tile % blocks * BM;
    t.last = min(t.first + BM, end) - 1;
    // A copy of lse and delta begins at a multiple of 16 bytes; queries before a key are masked.
    t.q = q0 + (max(0, t.first - q0) & ~3);
    const bool has[2] = {!ll_shifted(t.h0, a.h), bool(ll_shifted(t.h0 + t.heads - 1, a.h))}; // heads of the class
#pragma unroll
    for (int c = 0; c < 2; c++) t.end[c] = has[c] && t.first < end ? min(end, ll_seg(a, t.last, c).hi) : 0;
    return t;
}

template <int D, int BQ, int STAGES, int KSTAGES>
__global__ void __launch_bounds__(THREADS, 1)
    attn_dkv(const __grid_constant__ CUtensorMap qmap, const __grid_constant__ CUtensorMap domap,
             const __grid_constant__ CUtensorMap kmap, const __grid_constant__ CUtensorMap vmap,
             const __grid_constant__ CUtensorMap statsmap, const __grid_constant__ ll_attn_args a) {
    using L = KShared<D, BQ, STAGES, KSTAGES>;
    extern __shared__ char raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u;
    const uint32_t ks = base + L::k, vs = base + L::v, qs = base + L::q, dos = base + L::dout;
    const uint32_t kv_full = base + L::bars, kv_empty = kv_full + 8 * KSTAGES, full = kv_empty + 8 * KSTAGES;
    const uint32_t empty = full + 8 * STAGES;
    const float *const stats = reinterpret_cast<const float *>(raw + (base - shared_address(raw)) + L::stats);
    if (threadIdx.x == 0) {
        bars_init<KSTAGES>(kv_full, kv_empty, 2, WARPS);
        bars_init<STAGES>(full, empty, 3, WARPS);
        bar_init_done();
    }
    __syncthreads();

    const int total = key_blocks(a) * a.hkv, group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
    Ring<KSTAGES> kr;
    Ring<STAGES> r;
    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x != 0) return;
        for (int n = 0, tile; (tile = tile_at(n, total)) >= 0; n++) {
            const Keys t = keys_of(a, tile);
            if (t.empty()) continue;
            bar_wait(kv_empty + 8 * kr.slot, kr.parity ^ 1);
            copy_tile<D, BM>(ks + kr.slot * L::KV, &kmap, kv_full + 8 * kr.slot, t.kv, t.first - int(a.k0));
            copy_tile<D, BM>(vs + kr.slot * L::KV, &vmap, kv_full + 8 * kr.slot, t.kv, t.first - int(a.k0));
            kr.next();
            for (int h = t.h0; h < t.h0 + t.heads; h++) {
                const int end = ll_shifted(h, a.h) ? t.end[1] : t.end[0];
                for (int i = t.q - int(a.q0); i < end - int(a.q0); i += BQ, r.next()) {
                    const uint32_t bar = full + 8 * r.slot;
                    bar_wait(empty + 8 * r.slot, r.parity ^ 1);
                    copy_tile<D, BQ>(qs + r.slot * L::Q, &qmap, bar, h, i);
                    copy_tile<D, BQ>(dos + r.slot * L::Q, &domap, bar, h, i);
                    bar_expect(bar, L::STATS);
                    copy_box(base + L::stats + r.slot * L::STATS, &statsmap, bar, i, h, 0);
                }
            }
        }
    } else {
        more_registers<240>();
        const int wg = group - 1, lane = threadIdx.x % 32, row = wg * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
        const int col = lane % 4 * 2; // this thread holds columns col, col+1 of every 8, in rows row and row+8
        const float c = a.scale * LOG2E;
        auto release = [&](uint32_t bar) { if (lane == 0) bar_arrive(bar); };

        for (int n = 0, tile; (tile = tile_at(n, total)) >= 0; n++) {
            const Keys t = keys_of(a, tile);
            if (t.empty()) continue;
            const int first = t.first + wg * 64, key = t.first + row; // of this warpgroup, of this thread
            // Rows are keys, columns queries: so the probabilities lie in registers as the next products want them.
            float dk[D / 2], dv[D / 2], s[BQ / 2], dp[BQ / 2];
            uint32_t pb[BQ / 4], ds[BQ / 4];
#pragma unroll
            for (int i = 0; i < D / 2; i++) dk[i] = dv[i] = 0;
            uint32_t held = 0; // the barrier of the slot that the last products read
            auto finish = [&] {
                mma_wait<0>();
                settle(dk);
                settle(dv);
                settle(pb);
                settle(ds);
                if (held) release(held);
                held = 0;
            };
            // A block of queries that see only keys of the other warpgroup.
            auto skip = [&] {
                bar_wait(full + 8 * r.slot, r.parity);
                release(empty + 8 * r.slot);
                r.next();
            };

            bar_wait(kv_full + 8 * kr.slot, kr.parity);
            const uint32_t k = ks + kr.slot * L::KV + wg * 64 * 128, v = vs + kr.slot * L::KV + wg * 64 * 128;
            for (int h = t.h0; h < t.h0 + t.heads; h++) {
                const int shifted = ll_shifted(h, a.h), end = shifted ? t.end[1] : t.end[0];
                if (t.q >= end) continue;
                // A key is seen by the queries from it to the end of its segment; hi of the first and last key here.
                const int hi_first = ll_seg(a, min(first, t.last), shifted).hi;
                const int hi_last = ll_seg(a, min(first + 63, t.last), shifted).hi;
                int hi[2] = {hi_first, hi_first};
                if (hi_first != hi_last) {
                    hi[0] = ll_seg(a, min(key, t.last), shifted).hi;
                    hi[1] = ll_seg(a, min(key + 8, t.last), shifted).hi;
                }
                const int begin = max(0, first - t.q) / BQ * BQ; // in whole blocks
                int q = t.q;
                if (begin > 0) {
                    finish();
                    for (; q < min(t.q + begin, end); q += BQ) skip();
                }
                for (; q < min(end, hi_last); q += BQ) {
                    bar_wait(full + 8 * r.slot, r.parity);
                    mma_rows<D>(s, k, BM * 128, qs + r.slot * L::Q, BQ * 128);
                    mma_rows<D>(dp, v, BM * 128, dos + r.slot * L::Q, BQ * 128);
                    mma_wait<1>();
                    settle(s);
                    settle(dk);
                    settle(ds);
                    if (held) release(held);
                    if (q < first + 63 || q + BQ > hi_first) {
#pragma unroll
                        for (int i = 0; i < BQ / 2; i++) {
                            const int j = i / 4 * 8 + i % 2, x = i % 4 / 2;
                            if (j < key + 8 * x - q - col || j >= hi[x] - q - col) s[i] = -INFINITY;
                        }
                    }
                    // Past the last query q, dout and stats are zeros: p = 1 adds nothing.
                    const float *const lse = stats + r.slot * 2 * BQ + col, *const delta = lse + BQ;
#pragma unroll
                    for (int i = 0; i < BQ / 2; i += 4) {
                        const float2 x = *reinterpret_cast<const float2 *>(lse + 2 * i);
                        s[i] = exp2_fast(fmaf(s[i], c, -x.x));
                        s[i + 1] = exp2_fast(fmaf(s[i + 1], c, -x.y));
                        s[i + 2] = exp2_fast(fmaf(s[i + 2], c, -x.x));
                        s[i + 3] = exp2_fast(fmaf(s[i + 3], c, -x.y));
                    }
                    pack(pb, s);
                    mma_cols<BQ>(dv, pb, dos + r.slot * L::Q, BQ * 128);
                    mma_wait<1>();
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
                    mma_cols<BQ>(dk, ds, qs + r.slot * L::Q, BQ * 128);
                    mma_wait<1>();
                    settle(dv);
                    settle(pb);
                    held = empty + 8 * r.slot;
                    r.next();
                }
                if (q < end) {
                    finish();
                    for (; q < end; q += BQ) skip();
                }
            }
            finish();
            release(kv_empty + 8 * kr.slot);
            kr.next();
            // Each element has one owner: the addition in memory is its only one, so its order is fixed.
#pragma unroll
            for (int x = 0; x < 2; x++) {
                if (key + 8 * x > t.last) continue;
                const int64_t at = (int64_t(key + 8 * x - a.k0) * a.hkv + t.kv) * D + col;
#pragma unroll
                for (int j = 0; j < D / 8; j++) {
                    const int i = 4 * j + 2 * x;
                    add_pair(a.dk + at + 8 * j, dk[i] * a.scale, dk[i + 1] * a.scale);
                    add_pair(a.dv + at + 8 * j, dv[i], dv[i + 1]);
                }
            }
        }
    }
}

// ---- launch -------------------------------------------------------------------------------------------

struct Maps {
    CUtensorMap q, dout, k, v;
};

// Boxes of q_rows queries and of kv_rows keys.
int maps_of(Maps *m, const ll_attn_args *a, int q_rows, int kv_rows) {
    const int64_t end = a->q0 + a->t - a->k0; // rows after the last query's are never keys
    int r = tensor_map(&m->q, a->q, a->t, a->h, a->d, q_rows);
    if (!r) r = tensor_map(&m->dout, a->dout, a->t, a->h, a->d, q_rows);
    if (!r) r = tensor_map(&m->k, a->k, end, a->hkv, a->d, kv_rows);
    if (!r) r = tensor_map(&m->v, a->v, end, a->hkv, a->d, kv_rows);
    return r;
}

template <int D, int BN, int STAGES, int QSTAGES> int backward_q(const ll_attn_args *a, cudaStream_t stream) {
    Maps m;
    if (int r = maps_of(&m, a, BM, BN)) return r;
    return launch(attn_dq<D, BN, STAGES, QSTAGES>, (a->t + BM - 1) / BM * a->h, QShared<D, BN, STAGES, QSTAGES>::bytes,
                  stream, m.q, m.dout, m.k, m.v, *a);
}

template <int D, int BQ, int STAGES, int KSTAGES> int backward_kv(const ll_attn_args *a, cudaStream_t stream) {
    Maps m;
    CUtensorMap stats;
    int r = maps_of(&m, a, BQ, BM);
    if (!r) r = stats_map(&stats, static_cast<const float *>(a->work), a->t, stats_stride(*a), a->h, BQ);
    if (r) return r;
    return launch(attn_dkv<D, BQ, STAGES, KSTAGES>, (a->q0 + a->t - a->k0 + BM - 1) / BM * a->hkv,
                  KShared<D, BQ, STAGES, KSTAGES>::bytes, stream, m.q, m.dout, m.k, m.v, stats, *a);
}

} // namespace

size_t ll_attn_bwd_sm90_work(const ll_attn_args *a) { return 2 * sizeof(float) * a->h * stats_stride(*a); }

int ll_attn_bwd_sm90(const ll_attn_args *a, cudaStream_t stream) {
    if (a->t == 0) return cudaSuccess;
    int r = cudaErrorInvalidValue;
    if (a->d == 128) {
        r = backward_q<128, 96, 2, 2>(a, stream);
        if (!r) r = backward_kv<128, 64, 3, 2>(a, stream);
    } else if (a->d == 64) {
        r = backward_q<64, 128, 3, 2>(a, stream);
        if (!r) r = backward_kv<64, 64, 4, 2>(a, stream);
    }
    return r;
}
