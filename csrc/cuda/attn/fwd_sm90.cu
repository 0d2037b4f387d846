// Segmented causal attention for Hopper, forward (FlashAttention-2, arXiv 2307.08691, alg. 1; with a producer
// and overlapped softmax as in FlashAttention-3, arXiv 2407.08608, sec. 3). A block walks over tiles of 128
// queries of one head. One thread copies Q, K and V to shared memory; two warpgroups of 64 queries each compute.
// Keys are walked from the segment start of the tile's first query, so nothing before it is read.
//
// Tiles are dealt out to blocks, one of which is on each multiprocessor. On a crowded device they are taken by a ticket
// instead: a block may begin late, where something else has its multiprocessor, and is then left with fewer.
//
// Shared memory, of head size 128 (64: four slots of keys and of values):
//
//        0 KB        64 KB       128 KB      192 KB
//        | q 0 | q 1 | k 0 | k 1 | v 0 | v 1 | barriers |
//
// Barriers, a pair for each slot of a ring:
//
//   ring  slots     full: who arrives     who waits      empty: who arrives           who waits
//   q     QSTAGES   the producer's copy   both groups    8 warps, at the last scores  the producer
//   k     STAGES    the producer's copy   both groups    8 warps, after the scores    the producer
//   v     STAGES    the producer's copy   both groups    8 warps, after the values    the producer
//   tiles 2         the producer          both groups    8 warps, when they know it   the producer  (by a ticket)
#include "attn_sm90.cuh"

namespace {

using namespace sm90;

// How a kernel is cut: head size, keys of a block, slots of keys and of values, slots of queries. CAPPED: scores are.
// TICKET: a ticket says which tiles a block has.
template <int D_, int BN_, int STAGES_, int QSTAGES_, bool CAPPED_, bool TICKET_> struct Shape {
    static constexpr int D = D_, BN = BN_, STAGES = STAGES_, QSTAGES = QSTAGES_;
    static constexpr bool CAPPED = CAPPED_, TICKET = TICKET_;
};

template <class S> struct Shared {
    bf16 q[S::QSTAGES][BM * S::D], k[S::STAGES][S::BN * S::D], v[S::STAGES][S::BN * S::D]; // in panels, see sm90.cuh
    RingBars<S::QSTAGES> qbars;
    RingBars<S::STAGES> kbars, vbars;
    RingBars<2> tilebars;
    int tiles[2];
};
static_assert(sizeof(Shared<Shape<128, 128, 2, 2, false, true>>) == 6 * 32768 + 8 * 16 + 8, "as drawn");
static_assert(sizeof(Shared<Shape<64, 128, 4, 2, false, true>>) == 10 * 16384 + 8 * 24 + 8, "as drawn");

// The same by its address.
template <class S> struct Places {
    using L = Shared<S>;
    uint32_t base;

    __device__ __forceinline__ uint32_t q(int slot) const { return base + offsetof(L, q) + slot * sizeof(L::q[0]); }
    __device__ __forceinline__ uint32_t k(int slot) const { return base + offsetof(L, k) + slot * sizeof(L::k[0]); }
    __device__ __forceinline__ uint32_t v(int slot) const { return base + offsetof(L, v) + slot * sizeof(L::v[0]); }
    __device__ __forceinline__ Ring<S::QSTAGES> qs() const { return {base + uint32_t(offsetof(L, qbars))}; }
    __device__ __forceinline__ Ring<S::STAGES> ks() const { return {base + uint32_t(offsetof(L, kbars))}; }
    __device__ __forceinline__ Ring<S::STAGES> vs() const { return {base + uint32_t(offsetof(L, vbars))}; }
    __device__ __forceinline__ Ring<2> tiles() const { return {base + uint32_t(offsetof(L, tilebars))}; }
    // The number of a tile, -1 after the last.
    __device__ __forceinline__ uint32_t tile(int slot) const { return base + offsetof(L, tiles) + 4 * slot; }
};

// The producer's n-th tile, or -1 after the last. By a ticket all must hear which it is. Every block takes one ticket
// too many, and the last one taken sets the ticket back to 0.
template <class S> __device__ __forceinline__ int take(unsigned *ticket, Places<S> at, int n, int total) {
    if (!S::TICKET) return tile_at(n, total);
    const int i = int(atomicInc(ticket, total + gridDim.x - 1)), tile = i < total ? i : -1;
    at.tiles().empty(n % 2).wait(n / 2 % 2 ^ 1);
    asm volatile("st.shared.s32 [%0], %1;" ::"r"(at.tile(n % 2)), "r"(tile) : "memory");
    at.tiles().full(n % 2).arrive();
    return tile;
}

// The producer: one thread copies its tiles of queries and what they see into the rings.
template <class S>
__device__ __forceinline__ void produce(const CUtensorMap *qmap, const CUtensorMap *kmap, const CUtensorMap *vmap,
                                        const ll_attn_args &a, unsigned *ticket, Places<S> at, int total) {
    Cursor<S::QSTAGES> q;
    Cursor<S::STAGES> r;
    for (int n = 0, tile; (tile = take(ticket, at, n, total)) >= 0; n++) {
        const Queries t = queries(a, tile);
        at.qs().empty(q.slot).wait(q.parity ^ 1);
        copy_tile<S::D, BM>(at.q(q.slot), qmap, at.qs().full(q.slot), t.head, t.i0);
        q.next();
        for (int j = 0; j < t.keys; j += S::BN, r.next()) {
            const int row = t.lo - int(a.k0) + j;
            at.ks().empty(r.slot).wait(r.parity ^ 1);
            copy_tile<S::D, S::BN>(at.k(r.slot), kmap, at.ks().full(r.slot), t.kv, row);
            at.vs().empty(r.slot).wait(r.parity ^ 1);
            copy_tile<S::D, S::BN>(at.v(r.slot), vmap, at.vs().full(r.slot), t.kv, row);
        }
    }
}

// What a thread holds of its warpgroup's 64 queries: columns col, col+1 of every 8 in two rows, 8 apart.
template <class S> struct Registers {
    float o[S::D / 2], s[S::BN / 2]; // sums of values; scores or probabilities of a block of keys
    uint32_t p[S::BN / 4];           // the last block's probabilities, rounded
    float m[2], l[2];                // greatest score so far, and sum of exponentials under it, of both rows
    float f[2];                      // what sums under the maximum before are to be multiplied by

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < S::D / 2; i++) o[i] = 0;
        m[0] = m[1] = -INFINITY;
        l[0] = l[1] = 0;
    }

    __device__ __forceinline__ void scale(float x0, float x1) {
#pragma unroll
        for (int i = 0; i < S::D / 2; i++) o[i] *= i % 4 < 2 ? x0 : x1;
    }

    // Scores to probabilities under the new maximum m, their sums added to l; c is the scale for powers of 2.
    __device__ __forceinline__ void softmax(float c) {
        float n0 = m[0], n1 = m[1];
#pragma unroll
        for (int i = 0; i < S::BN / 2; i += 4) {
            n0 = fmaxf(n0, fmaxf(s[i], s[i + 1]));
            n1 = fmaxf(n1, fmaxf(s[i + 2], s[i + 3]));
        }
        n0 = quad_max(n0);
        n1 = quad_max(n1);
        const float z0 = n0 == -INFINITY ? 0 : n0 * c, z1 = n1 == -INFINITY ? 0 : n1 * c;
        f[0] = ll_exp2(m[0] * c - z0);
        f[1] = ll_exp2(m[1] * c - z1);
        m[0] = n0;
        m[1] = n1;
        float t0 = 0, t1 = 0;
#pragma unroll
        for (int i = 0; i < S::BN / 2; i += 4) {
            t0 += s[i] = ll_exp2(fmaf(s[i], c, -z0));
            t0 += s[i + 1] = ll_exp2(fmaf(s[i + 1], c, -z0));
            t1 += s[i + 2] = ll_exp2(fmaf(s[i + 2], c, -z1));
            t1 += s[i + 3] = ll_exp2(fmaf(s[i + 3], c, -z1));
        }
        l[0] = l[0] * f[0] + t0;
        l[1] = l[1] * f[1] + t1;
    }
};

// A consumer: one of two warpgroups that compute, 64 queries of each tile.
template <class S> struct Consumer {
    static constexpr int D = S::D, BN = S::BN;
    const ll_attn_args &a;
    const Places<S> at;
    const int wg, lane, row, col;
    const float c;
    Cursor<S::QSTAGES> qr;
    Cursor<S::STAGES> kr, vr;

    __device__ __forceinline__ Consumer(const ll_attn_args &a, Places<S> at, int wg)
        : a(a), at(at), wg(wg), lane(threadIdx.x % 32), row(wg * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4),
          col(lane % 4 * 2), c(ll_unit<S::CAPPED>(a) * LOG2E) {}

    __device__ __forceinline__ void release(Bar bar) {
        if (lane == 0) bar.arrive();
    }
    __device__ __forceinline__ void release_keys() {
        release(at.ks().empty(kr.slot));
        kr.next();
    }
    __device__ __forceinline__ void release_values() {
        release(at.vs().empty(vr.slot));
        vr.next();
    }

    // A block of keys that only the other warpgroup sees.
    __device__ __forceinline__ void skip() {
        at.ks().full(kr.slot).wait(kr.parity);
        release_keys();
        at.vs().full(vr.slot).wait(vr.parity);
        release_values();
    }

    // Starts the scores of the next block of keys.
    __device__ __forceinline__ void scores(Registers<S> &r, uint32_t q) {
        at.ks().full(kr.slot).wait(kr.parity);
        mma_rows<D>(r.s, q, BM * 128, at.k(kr.slot), BN * 128);
    }
    // Starts adding the next block of values.
    __device__ __forceinline__ void values(Registers<S> &r) {
        at.vs().full(vr.slot).wait(vr.parity);
        mma_cols<BN>(r.o, r.p, at.v(vr.slot), BN * 128);
    }
    // Ends what scores started: the keys from token `key` on.
    template <int LEFT> __device__ __forceinline__ void probabilities(Registers<S> &r, const Rows &rows, int key) {
        mma_wait<LEFT>();
        settle(r.s);
        release_keys();
        ll_cap<S::CAPPED>(r.s, a);
        rows.mask(r.s, key, col);
        r.softmax(c);
    }
    // Ends what values started.
    __device__ __forceinline__ void added(Registers<S> &r) {
        mma_wait<0>();
        settle(r.o);
        settle(r.p);
        release_values();
    }

    __device__ __forceinline__ void tile(const Queries &t) {
        const Rows rows = rows_of(a, t, wg, row, BN);
        Registers<S> r;
        r.clear();
        int j = 0;
        for (; j < rows.begin; j += BN) skip();
        const uint32_t q = at.q(qr.slot) + wg * 64 * 128;
        at.qs().full(qr.slot).wait(qr.parity);
        scores(r, q);
        probabilities<0>(r, rows, t.lo + j);
        pack(r.p, r.s);
        // The next block's scores are made, and turned into probabilities, while the last block's values are added.
        for (j += BN; j < rows.end; j += BN) {
            scores(r, q);
            values(r);
            probabilities<1>(r, rows, t.lo + j);
            added(r);
            r.scale(r.f[0], r.f[1]);
            pack(r.p, r.s);
        }
        release(at.qs().empty(qr.slot));
        qr.next();
        values(r);
        r.l[0] = quad_sum(r.l[0]);
        r.l[1] = quad_sum(r.l[1]);
        added(r);
        for (; j < t.keys; j += BN) skip();
        r.scale(__fdividef(1, r.l[0]), __fdividef(1, r.l[1]));
        store(r, t);
    }

    // The block's n-th tile, or -1 after the last.
    __device__ __forceinline__ int next(int n, int total) {
        if (!S::TICKET) return tile_at(n, total);
        at.tiles().full(n % 2).wait(n / 2 % 2);
        int tile;
        asm volatile("ld.shared.s32 %0, [%1];" : "=r"(tile) : "r"(at.tile(n % 2)) : "memory");
        __syncwarp(); // all have read it
        release(at.tiles().empty(n % 2));
        return tile;
    }

    __device__ __forceinline__ void store(const Registers<S> &r, const Queries &t) {
        const int i = t.i0 + row, left = int(a.t) - i; // rows left in the tile
        bf16 *const out = static_cast<bf16 *>(a.o) + (int64_t(i) * a.h + t.head) * D;
        store_rows<D>(left > 0 ? out : nullptr, left > 8 ? out + int64_t(8) * a.h * D : nullptr, r.o);
        float *const lse = a.lse + int64_t(t.head) * a.t + i;
        if (lane % 4 == 0 && left > 0) lse[0] = r.m[0] * ll_unit<S::CAPPED>(a) + logf(r.l[0]);
        if (lane % 4 == 0 && left > 8) lse[8] = r.m[1] * ll_unit<S::CAPPED>(a) + logf(r.l[1]);
    }
};

template <class S>
__global__ void __launch_bounds__(THREADS, 1)
    attn_fwd(const __grid_constant__ CUtensorMap qmap, const __grid_constant__ CUtensorMap kmap,
             const __grid_constant__ CUtensorMap vmap, const __grid_constant__ ll_attn_args a, unsigned *ticket) {
    extern __shared__ char raw[];
    const Places<S> at{aligned(raw)};
    if (threadIdx.x == 0) {
        at.qs().init(1, WARPS);
        at.ks().init(1, WARPS);
        at.vs().init(1, WARPS);
        at.tiles().init(1, WARPS);
        bars_done();
    }
    __syncthreads();
    const int total = query_tiles(a), group = warpgroup();
    if (group == 0) {
        fewer_registers<S::TICKET ? 40 : 24>(); // of 168 times three
        if (threadIdx.x == 0) produce<S>(&qmap, &kmap, &vmap, a, ticket, at, total);
    } else {
        more_registers<S::TICKET ? 232 : 240>();
        Consumer<S> consumer(a, at, group - 1);
        for (int n = 0, tile; (tile = consumer.next(n, total)) >= 0; n++) consumer.tile(queries(a, tile));
    }
}

template <class S> int forward_as(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    CUtensorMap q, k, v;
    const int64_t end = a->q0 + a->t - a->k0; // rows after the last query's are never keys
    int r = tensor_map(device, &q, a->q, a->t, a->h, S::D, BM);
    if (!r) r = tensor_map(device, &k, a->k, end, a->hkv, S::D, S::BN);
    if (!r) r = tensor_map(device, &v, a->v, end, a->hkv, S::D, S::BN);
    if (r) return r;
    return launch(attn_fwd<S>, device, (a->t + BM - 1) / BM * a->h, sizeof(Shared<S>) + ALIGN, stream, q, k, v, *a,
                  device->ticket);
}

template <int D, int STAGES, bool CAPPED>
int forward(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    return device->crowded ? forward_as<Shape<D, 128, STAGES, 2, CAPPED, true>>(device, stream, a)
                           : forward_as<Shape<D, 128, STAGES, 2, CAPPED, false>>(device, stream, a);
}

} // namespace

int ll_attn_fwd_sm90(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    const bool capped = a->cap > 0;
    if (a->d == 128 && capped) return forward<128, 2, true>(device, stream, a);
    if (a->d == 128) return forward<128, 2, false>(device, stream, a);
    if (a->d == 64 && capped) return forward<64, 4, true>(device, stream, a);
    if (a->d == 64) return forward<64, 4, false>(device, stream, a);
    return cudaErrorInvalidValue;
}
