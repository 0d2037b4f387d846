// Segmented causal attention for Hopper, backward (FlashAttention-2, arXiv 2307.08691, alg. 2): five products a pair of
// blocks. A block takes tiles of 128 keys of one key/value head, walks over the queries that see them and owns their
// dk and dv. Its roles: one thread copies tiles to shared memory (the producer), two warpgroups of 64 keys each compute
// (the consumers), and a thread for each of them copies what they made out of shared memory (the writers). What lies
// where and who waits for whom is drawn in bwd_sm90.cuh.
//
// dq of a block of queries is a sum over the tiles of keys that it sees, which add to it one after the other in
// descending order, so the bits are always the same: a counter says how many have. A tile begins at its diagonal,
// so that tiles that run together walk abreast, each a little behind the one above it. Tiles are taken in that order
// by a ticket: whom one waits for is running or done.
#include "bwd_sm90.cuh"

namespace {

using namespace sm90;

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

// The copy engine's views of the tensors.
struct Maps {
    CUtensorMap q, dout, k, v, stats, dk, dv;
};

// ---- the producer ---------------------------------------------------------------------------------------

// Copies a tile's keys and values, once they are free of the m tiles before.
template <int D>
__device__ __forceinline__ void produce_keys(const Maps &maps, const ll_attn_args &a, Places<D> at, const Keys &t,
                                             int m) {
    const int row = t.first - int(a.k0);
    at.ks().empty(0).wait(m % 2 ^ 1);
    copy_tile<D, BM>(at.k(), &maps.k, at.ks().full(0), t.kv, row);
    at.vs().empty(0).wait(m % 2 ^ 1);
    copy_tile<D, BM>(at.v(), &maps.v, at.vs().full(0), t.kv, row);
}

// Copies the n-th block of queries: block i of head h.
template <int D> __device__ __forceinline__ void produce_queries(const Maps &maps, Places<D> at, int n, int h, int i) {
    const Bar full = at.queries().full(slot(n));
    at.queries().empty(slot(n)).wait(parity(n) ^ 1);
    copy_tile<D, BQ>(at.q(n), &maps.q, full, h, i * BQ);
    copy_tile<D, BQ>(at.dout(n), &maps.dout, full, h, i * BQ);
    full.expect(sizeof(Shared<D>::stats[0]));
    copy_box(at.stats(n), &maps.stats, full, i * BQ, h, 0);
}

// Takes tiles by the ticket, says which they are, and copies what they want.
template <int D> __device__ __forceinline__ void produce(const Maps &maps, const ll_attn_args &a, Places<D> at) {
    const int total = key_blocks(a) * a.hkv;
    for (int m = 0, n = 0, tile = 0; tile < total;) {
        tile = atomicAdd(work_of(a).ticket, 1);
        Keys t;
        t.kv = -1;
        if (tile < total && !keys_of(&t, a, tile)) continue;
        at.tiles().empty(slot(m)).wait(parity(m) ^ 1);
        t.put(&at.tile(m));
        at.tiles().full(slot(m)).arrive();
        if (t.kv < 0) break;
        bool fresh = true;
        for (int h = t.h0; h < t.h0 + t.heads; h++) {
            const int end = ll_shifted(h, a.h) ? t.end[1] : t.end[0];
            for (int i = t.block; i < end; i++, n++) {
                produce_queries<D>(maps, at, n, h, i);
                if (fresh) produce_keys<D>(maps, a, at, t, m);
                fresh = false;
            }
        }
        m++;
    }
}

// ---- the writers ----------------------------------------------------------------------------------------

// Adds one warpgroup's piece of dq of block i of head h, the n-th thing that it made, in the tile's turn.
template <int D>
__device__ __forceinline__ void write_dq(const ll_attn_args &a, Places<D> at, int wg, int n, int h, int i, int first) {
    // the turn among the tiles that the block's last query sees, and those before
    const int turn = (int(a.q0) + min((i + 1) * BQ, int(a.t)) - 1 - first) / BM;
    const Work w = work_of(a);
    const int64_t piece = (int64_t(h) * w.blocks + i) * 2 + wg;
    const Turn order{w.added + piece};
    at.out_full(wg, n).wait(parity(n));
    order.await(turn);
    fence_global();
    bulk_store(w.dq + piece * PIECE<D>, at.out(wg, n), PIECE<D> * 4, turn > 0);
    store_commit();
    stores_read();
    at.out_empty(wg, n).arrive();
    stores_done();
    fence_global();
    order.announce(turn + 1);
}

// In how many pieces a warpgroup's rows of dk and dv leave shared memory: half the columns of either each, as bf16 all.
__device__ __forceinline__ int pieces(const ll_attn_args &a) { return a.all ? 2 : 4; }

// Copies results of warpgroup wg out: dq of every step, then its rows of the tile's dk and dv.
template <int D> __device__ __forceinline__ void write(const Maps &maps, const ll_attn_args &a, Places<D> at, int wg) {
    for (int m = 0, n = 0;; m++) {
        at.tiles().full(slot(m)).wait(parity(m));
        volatile const Keys &t = at.tile(m);
        if (t.kv < 0) break;
        for (int h = t.h0; h < t.h0 + t.heads; h++) {
            const int end = ll_shifted(h, a.h) ? t.end[1] : t.end[0];
            for (int i = t.block; i < end; i++, n++) write_dq<D>(a, at, wg, n, h, i, t.first);
        }
        for (int p = 0, parts = pieces(a); p < parts; p++, n++) {
            at.out_full(wg, n).wait(parity(n));
            const CUtensorMap *const map = 2 * p < parts ? &maps.dk : &maps.dv;
            const int row = t.first - int(a.k0) + wg * 64;
            const bool add = !a.fresh || row < int(a.q0 - a.k0);
            if (a.all)
                for (int c = 0; c < D; c += 64) store_box(map, at.out(wg, n) + c * 64 * 2, c, t.kv, row, false);
            else
                for (int c = 0; c < D / 2; c += 32)
                    store_box(map, at.out(wg, n) + c * 64 * 4, p % 2 * D / 2 + c, t.kv, row, add);
            store_commit();
            stores_read();
            at.out_empty(wg, n).arrive();
        }
        at.tiles().empty(slot(m)).arrive();
    }
    stores_done();
}

// ---- the consumers --------------------------------------------------------------------------------------

// What a thread holds of its warpgroup's keys: columns col, col+1 of every 8 in two rows, 8 apart. Rows are keys,
// columns queries: so the probabilities lie in registers as the next products want them.
template <int D> struct Registers {
    float dk[D / 2], dv[D / 2];
    float s[BQ / 2], dp[BQ / 2];      // scores, then probabilities, then ds; do·vᵀ
    uint32_t p[BQ / 4], ds[BQ / 4];   // rounded
};

// What bounds the queries that a warpgroup's keys are seen by, of one head.
struct Seen {
    int shifted, first;     // the head's class; token of the first key
    int hi_first, hi_last;  // hi of the first and the last key
};

// CAPPED: scores are.
template <int D, bool CAPPED> struct Consumer {
    const ll_attn_args &a;
    const Places<D> at;
    const int wg, lane, row, col, parts;
    const float c;
    int m = 0, n = 0;  // tiles and steps done
    bool held = false; // the last step's slot, by its product

    __device__ __forceinline__ Consumer(const ll_attn_args &a, Places<D> at, int wg)
        : a(a), at(at), wg(wg), lane(threadIdx.x % 32), row(wg * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4),
          col(lane % 4 * 2), parts(pieces(a)), c(ll_unit<CAPPED>(a) * LOG2E) {}

    __device__ __forceinline__ void release(Bar bar) {
        if (lane == 0) bar.arrive();
    }
    __device__ __forceinline__ void release_queries() {
        if (held) release(at.queries().empty(slot(n - 1)));
        held = false;
    }
    // Waits for room for piece o of what this warpgroup makes, and gives it away when it is written.
    __device__ __forceinline__ uint32_t take(int o) {
        at.out_empty(wg, o).wait(parity(o) ^ 1);
        return at.out(wg, o);
    }
    __device__ __forceinline__ void give(int o) {
        fence_shared();
        __syncwarp();
        release(at.out_full(wg, o));
    }

    // Starts s = k·qᵀ and dp = v·doᵀ, and waits for s and for the step before.
    __device__ __forceinline__ void scores(Registers<D> &r) {
        mma_rows<D>(r.s, at.k() + wg * 64 * 128, BM * 128, at.q(n), BQ * 128);
        mma_rows<D>(r.dp, at.v() + wg * 64 * 128, BM * 128, at.dout(n), BQ * 128);
        mma_wait<1>();
        settle(r.s);
        settle(r.dk);
        settle(r.ds);
        release_queries();
    }

    // Waits for the step before, where nothing else is started.
    __device__ __forceinline__ void finish(Registers<D> &r) {
        mma_wait<0>();
        settle(r.dk);
        settle(r.ds);
        release_queries();
    }

    // Hides queries from q on from keys that they do not see. A key is seen by the queries from it to the end of its
    // segment.
    __device__ __forceinline__ void mask(Registers<D> &r, volatile const Keys &t, const Seen &see, int q) {
        if (q >= see.first + 63 && q + BQ <= see.hi_first) return;
        const int key = t.first + row - q - col, last = t.last;
#pragma unroll
        for (int x = 0; x < 2; x++) {
            const int hi = ll_seg(a, min(t.first + row + 8 * x, last), see.shifted).hi - q - col;
#pragma unroll
            for (int i = 2 * x; i < BQ / 2; i += i % 2 ? 3 : 1) {
                const int j = i / 4 * 8 + i % 2;
                if (j < key + 8 * x || j >= hi) r.s[i] = -INFINITY;
            }
        }
    }

    // Probabilities times the slope of the cap.
    __device__ __forceinline__ void slopes(Registers<D> &r) {
        const float *const lse = at.stats_at(n) + col;
        const float by = __fdividef(1, c);
#pragma unroll
        for (int i = 0; i < BQ / 2; i += 4) {
            const float2 x = *reinterpret_cast<const float2 *>(lse + 2 * i);
            r.s[i] *= ll_slope(r.s[i], x.x, by);
            r.s[i + 1] *= ll_slope(r.s[i + 1], x.y, by);
            r.s[i + 2] *= ll_slope(r.s[i + 2], x.x, by);
            r.s[i + 3] *= ll_slope(r.s[i + 3], x.y, by);
        }
    }

    // Scores to probabilities, and with dp to ds. Past the last query q, dout and stats are zeros: p = 1 adds nothing.
    __device__ __forceinline__ void softmax(Registers<D> &r) {
        const float *const lse = at.stats_at(n) + col, *const delta = lse + BQ;
#pragma unroll
        for (int i = 0; i < BQ / 2; i += 4) {
            const float2 x = *reinterpret_cast<const float2 *>(lse + 2 * i);
            r.s[i] = ll_exp2(fmaf(r.s[i], c, -x.x));
            r.s[i + 1] = ll_exp2(fmaf(r.s[i + 1], c, -x.y));
            r.s[i + 2] = ll_exp2(fmaf(r.s[i + 2], c, -x.x));
            r.s[i + 3] = ll_exp2(fmaf(r.s[i + 3], c, -x.y));
        }
        pack(r.p, r.s);
        if (CAPPED) slopes(r);
        mma_wait<0>();
        settle(r.dp);
#pragma unroll
        for (int i = 0; i < BQ / 2; i += 4) {
            const float2 x = *reinterpret_cast<const float2 *>(delta + 2 * i);
            r.s[i] *= r.dp[i] - x.x;
            r.s[i + 1] *= r.dp[i + 1] - x.y;
            r.s[i + 2] *= r.dp[i + 2] - x.x;
            r.s[i + 3] *= r.dp[i + 3] - x.y;
        }
        pack(r.ds, r.s);
    }

    // Hands this warpgroup's ds to both, makes half the columns of dq of all keys, and gives them away; beside it dk
    // += dsᵀ·q.
    __device__ __forceinline__ void queries(Registers<D> &r, bool seen) {
        at.dss().empty(0).wait(n % 2 ^ 1);
        store_panels(at.ds(), BM * 128, row - lane / 4, r.ds);
        fence_shared();
        __syncwarp();
        release(at.dss().full(0));
        at.dss().full(0).wait(n % 2);
        float dq[D / 4];
        mma_both<BM>(dq, at.ds(), at.k() + (D == 64 ? wg * 64 : wg * BM * 128));
        if (seen) {
            mma_cols<BQ>(r.dk, r.ds, at.q(n), BQ * 128);
            mma_wait<1>();
        } else {
            mma_wait<0>();
        }
        settle(dq);
        settle(r.dv);
        settle(r.p);
        release(at.dss().empty(0));
        const uint32_t to = take(n + parts * m) + threadIdx.x % 128 * 16;
#pragma unroll
        for (int i = 0; i < D / 4; i += 4) store_shared(to + i * 512, dq[i], dq[i + 1], dq[i + 2], dq[i + 3]);
        give(n + parts * m);
        held = true;
    }

    // The block of queries from token q on.
    __device__ __forceinline__ void step(Registers<D> &r, volatile const Keys &t, const Seen &see, int q) {
        const bool seen = q + BQ > see.first && q < see.hi_last; // else its queries see only the other warpgroup's keys
        at.queries().full(slot(n)).wait(parity(n));
        if (seen) {
            scores(r);
            ll_cap<CAPPED>(r.s, a);
            mask(r, t, see, q);
            softmax(r);
            mma_cols<BQ>(r.dv, r.p, at.dout(n), BQ * 128);
        } else {
            finish(r);
#pragma unroll
            for (int i = 0; i < BQ / 4; i++) r.ds[i] = 0;
        }
        queries(r, seen);
    }

    // Gives a piece of dk or dv away, in boxes of 32 columns in the copy engine's 128-byte swizzle. Other threads than
    // with dq write a place, and compute-sanitizer does not see that the copying thread stands between them: hence
    // the barriers before and after, in tile.
    __device__ __forceinline__ void sum(int o, const float (&d)[D / 4], float scale) {
        const int l = lane_here();
        const uint32_t to = take(o) + row % 64 * 128 + l % 2 * 8;
#pragma unroll
        for (int i = 0; i < D / 4; i += 4) {
            const uint32_t x = to + i / 16 * (64 * 32 * 4) + (((i / 4 % 4 * 2 + l % 4 / 2) ^ l / 4) << 4);
            store_shared(x, d[i] * scale, d[i + 1] * scale);
            store_shared(x + 8 * 128, d[i + 2] * scale, d[i + 3] * scale);
        }
        give(o);
    }

    // Gives dk and dv away as bf16, dk turned back.
    __device__ __forceinline__ void rounded(int o, volatile const Keys &t, Registers<D> &r) {
#pragma unroll
        for (int i = 0; i < D / 2; i++) r.dk[i] *= a.scale;
        if (turns<D>(a)) {
            const int first = t.first + row - int(a.q0), last = t.last - int(a.q0);
            turn_back<D>(part<D / 4>(r.dk, 0), part<D / 4>(r.dk, 1), a, min(first, last), min(first + 8, last), col);
        }
        const int rows = row % 64 - lane / 4;
        uint32_t p[D / 4];
        pack(p, r.dk);
        store_panels(take(o), 64 * 128, rows, p);
        give(o);
        pack(p, r.dv);
        store_panels(take(o + 1), 64 * 128, rows, p);
        give(o + 1);
    }

    // One tile of keys.
    __device__ __forceinline__ void tile(volatile const Keys &t) {
        Registers<D> r;
#pragma unroll
        for (int i = 0; i < D / 2; i++) r.dk[i] = r.dv[i] = 0;
        held = false;
        const int first = t.first + wg * 64;
        at.ks().full(0).wait(m % 2);
        at.vs().full(0).wait(m % 2);
        for (int h = t.h0; h < t.h0 + t.heads; h++) {
            const int shifted = ll_shifted(h, a.h), end = int(a.q0) + (shifted ? t.end[1] : t.end[0]) * BQ;
            int q = int(a.q0) + t.block * BQ;
            if (q >= end) continue;
            const Seen see{shifted, first, ll_seg(a, min(first, t.last), shifted).hi,
                           ll_seg(a, min(first + 63, t.last), shifted).hi};
            for (; q < end; q += BQ, n++) step(r, t, see, q);
        }
        finish(r);
        release(at.ks().empty(0));
        release(at.vs().empty(0));
        release(at.tiles().empty(slot(m)));
        warpgroup_sync(1 + wg);
        const int o = n + parts * m;
        if (a.all) {
            rounded(o, t, r);
        } else {
            sum(o, part<D / 4>(r.dk, 0), a.scale);
            sum(o + 1, part<D / 4>(r.dk, 1), a.scale);
            sum(o + 2, part<D / 4>(r.dv, 0), 1);
            sum(o + 3, part<D / 4>(r.dv, 1), 1);
        }
        warpgroup_sync(1 + wg);
    }

    __device__ __forceinline__ void run() {
        for (;; m++) {
            at.tiles().full(slot(m)).wait(parity(m));
            volatile const Keys &t = at.tile(m);
            if (t.kv < 0) break;
            tile(t);
        }
    }
};

template <int D, bool CAPPED>
__global__ void __launch_bounds__(THREADS, 1)
    attn_bwd(const __grid_constant__ Maps maps, const __grid_constant__ ll_attn_args a) {
    extern __shared__ char raw[];
    const Places<D> at(raw);
    if (threadIdx.x == 0) at.init();
    __syncthreads();
    const int group = warpgroup();
    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x % 32 != 0 || threadIdx.x > 64) return;
        if (threadIdx.x == 0) produce<D>(maps, a, at);
        else write<D>(maps, a, at, threadIdx.x / 32 - 1);
    } else {
        more_registers<240>();
        Consumer<D, CAPPED>(a, at, group - 1).run();
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

// dq as bf16 from its pieces, turned back, a block of threads the two of a block of queries.
template <int D> __global__ void __launch_bounds__(128) attn_dq(const __grid_constant__ ll_attn_args a) {
    const Work w = work_of(a);
    const int h = blockIdx.x / w.blocks, block = blockIdx.x % w.blocks;
    const float4 *const from =
        reinterpret_cast<const float4 *>(w.dq) + int64_t(blockIdx.x) * (BQ * D / 4) + threadIdx.x;
    float d[2][D / 4];
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        const float4 x = from[128 * i];
        float *const y = &d[i / (D / 16)][i % (D / 16) * 4];
        y[0] = x.x * a.scale, y[1] = x.y * a.scale, y[2] = x.z * a.scale, y[3] = x.w * a.scale;
    }
    const int row = block * BQ + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, last = int(a.t) - 1;
    if (turns<D>(a)) turn_back<D>(d[0], d[1], a, min(row, last), min(row + 8, last), threadIdx.x % 4 * 2);
    bf16 *const out = static_cast<bf16 *>(a.dq) + (int64_t(row) * a.h + h) * D;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        bf16 *const to = out + i * (D / 2);
        store_rows<D / 2>(row <= last ? to : nullptr, row + 8 <= last ? to + int64_t(8) * a.h * D : nullptr, d[i]);
    }
}

template <int D> int maps_of(const ll_device *device, const ll_attn_args *a, Maps *maps) {
    const Work w = work_of(*a);
    const int64_t end = a->q0 + a->t - a->k0; // rows after the last query's are never keys
    int r = tensor_map(device, &maps->q, a->q, a->t, a->h, D, BQ);
    if (!r) r = tensor_map(device, &maps->dout, a->dout, a->t, a->h, D, BQ);
    if (!r) r = tensor_map(device, &maps->k, a->k, end, a->hkv, D, BM);
    if (!r) r = tensor_map(device, &maps->v, a->v, end, a->hkv, D, BM);
    if (!r) r = stats_map(device, &maps->stats, w.stats, a->t, w.stride, a->h, BQ);
    const auto map = a->all ? tensor_map : sums_map;
    if (!r) r = map(device, &maps->dk, a->dk, end, a->hkv, D, 64);
    if (!r) r = map(device, &maps->dv, a->dv, end, a->hkv, D, 64);
    return r;
}

// Clears what is added to before anything is: the counters and, with fresh, those of the rows to be written that may
// lie in one box with rows that are added to.
int clear(const ll_attn_args *a, cudaStream_t stream) {
    const int64_t own = a->q0 - a->k0, row = int64_t(a->hkv) * a->d, mixed = (a->t < 63 ? a->t : 63) * row;
    int r = cudaMemsetAsync(a->work, 0, work_of(*a).zeroed, stream);
    if (r || !a->fresh || own == 0) return r;
    r = cudaMemsetAsync(static_cast<float *>(a->dk) + own * row, 0, mixed * sizeof(float), stream);
    return r ? r : cudaMemsetAsync(static_cast<float *>(a->dv) + own * row, 0, mixed * sizeof(float), stream);
}

template <int D> int backward(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    Maps maps;
    int r = maps_of<D>(device, a, &maps);
    if (!r) r = clear(a, stream);
    if (r) return r;
    attn_stats<D><<<unsigned((a->t * a->h * (D / 8) + 255) / 256), 256, 0, stream>>>(*a);
    const int64_t tiles = (a->q0 + a->t - a->k0 + BM - 1) / BM * a->hkv;
    const auto kernel = a->cap > 0 ? attn_bwd<D, true> : attn_bwd<D, false>;
    r = launch(kernel, device, tiles, sizeof(Shared<D>) + ALIGN, stream, maps, *a);
    if (r) return r;
    attn_dq<D><<<work_of(*a).blocks * a->h, 128, 0, stream>>>(*a);
    return cudaGetLastError();
}

} // namespace

size_t ll_attn_bwd_sm90_work(const ll_attn_args *a) { return work_of(*a).bytes; }

int ll_attn_bwd_sm90(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    if (a->d == 128) return backward<128>(device, stream, a);
    if (a->d == 64) return backward<64>(device, stream, a);
    return cudaErrorInvalidValue;
}
