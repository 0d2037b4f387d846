// How the portable backward pass lies in memory: how its warps share a block, its shared memory, its work memory, and
// the walk over the queries that see its keys.
//
// Shared memory of head size 128 (64 queries, 128 keys, two stages), in KB; pᵀ and dsᵀ are (keys, queries):
//
//        0          32         64     80     96     112    128      144      160
//        | k        | v        | q 0  | q 1  | do 0 | do 1 | pᵀ     | dsᵀ    | lse, delta of two stages, ticket |
//
// Barriers, each of all threads, twice a step:
//
//   after a thread's copies of a stage   the step's queries are there, and all have done with the step before: the next
//                                        stage is fetched, and warp 1 announces what the step before wrote of dq
//   after its part of pᵀ and dsᵀ         both are there, and so is the sum of dq so far, for which warp 0 has waited
#ifndef LONGLORA_ATTN_BWD_MMA_CUH
#define LONGLORA_ATTN_BWD_MMA_CUH

#include "attn.cuh"
#include "mma.cuh"

namespace {

constexpr int BM_LEAST = 32, BM_MOST = 128; // of every shape

// How a block's warps share its work. C: head size rounded up. EXACT: it is the head size. BN/(16·KT) warps down own
// KT·16 keys each; SPLIT across share the queries of s and dp and the columns of dk and dv. STAGES: of q and dout.
// CAPPED: scores are.
template <int C_, int BM_, int BN_, int KT_, int SPLIT_, int STAGES_, bool EXACT_, bool CAPPED_ = false> struct Shape {
    static constexpr int C = C_, BM = BM_, BN = BN_, KT = KT_, SPLIT = SPLIT_, STAGES = STAGES_;
    static constexpr bool EXACT = EXACT_, CAPPED = CAPPED_;
    static constexpr int KW = BN / 16 / KT, WARPS = KW * SPLIT, THREADS = WARPS * 32;
    static constexpr int SC = BM / SPLIT, DC = C / SPLIT;
    static constexpr int QT = C * BM / WARPS < 32 * 16 ? 1 : 2;           // dq: QT·16 queries a warp,
    static constexpr int QM = BM / 16 / QT, QN = WARPS / QM, QC = C / QN; // QM warps down, QN across, QC columns each
    static_assert(SC % 16 == 0 && DC % 16 == 0 && QC % 16 == 0 && QM * QN == WARPS, "whole fragments");
    static_assert(BM >= BM_LEAST && BM <= BM_MOST, "the work memory is cut for these");
};

template <class S> struct Shared {
    bf16 k[S::BN * S::C], v[S::BN * S::C];
    bf16 q[S::STAGES][S::BM * S::C], dout[S::STAGES][S::BM * S::C];
    bf16 p[S::BN * S::BM], ds[S::BN * S::BM];
    float stats[S::STAGES][2][S::BM]; // lse and delta
    int ticket[4];
};
static_assert(sizeof(Shared<Shape<128, 64, 128, 2, 2, 2, true>>) == 160 * 1024 + 2 * 512 + 16, "as drawn");

// The same by its address.
template <class S> struct Places {
    using L = Shared<S>;
    const uint32_t base;
    const ll_rows<S::C> k, v;
    const ll_rows<S::BM> p, ds;
    L *const shared;

    __device__ __forceinline__ explicit Places(char *smem)
        : base(shared_address(smem)), k{base + uint32_t(offsetof(L, k))}, v{base + uint32_t(offsetof(L, v))},
          p{base + uint32_t(offsetof(L, p))}, ds{base + uint32_t(offsetof(L, ds))}, shared((L *)smem) {}

    __device__ __forceinline__ ll_rows<S::C> q(int stage) const {
        return {base + uint32_t(offsetof(L, q)) + stage * uint32_t(sizeof(L::q[0]))};
    }
    __device__ __forceinline__ ll_rows<S::C> dout(int stage) const {
        return {base + uint32_t(offsetof(L, dout)) + stage * uint32_t(sizeof(L::dout[0]))};
    }
    // In bytes and unsigned, as the others: with shared->stats[stage] the exact shape of head size 128 spills five
    // times as much.
    __device__ __forceinline__ float *stats(int stage) const {
        return (float *)((char *)shared->stats + stage * uint32_t(sizeof(L::stats[0])));
    }
};

// The work memory: a ticket, then a counter a block of queries and head, then their sums in the order of fragments.
struct Work {
    int *ticket, *added;
    float4 *dq;
    size_t zeroed, bytes;
};

// c is the head size rounded up. The same for every BM, so that a plan can be made without a device.
__host__ __device__ inline Work work_of(const ll_attn_args &a, int c) {
    const size_t rows = (size_t)((a.t + BM_MOST - 1) / BM_MOST) * BM_MOST * a.h;
    const size_t zeroed = 256 + (rows / BM_LEAST * 4 + 255) / 256 * 256;
    char *p = (char *)a.work;
    return {(int *)p, (int *)(p + 256), (float4 *)(p + zeroed), zeroed, zeroed + rows * c * 4};
}

// The blocks of queries of one head class that see the keys [k0, k1): first to last, none when last < first. Those
// above prev see no keys before k0.
struct Blocks {
    int first, last, prev;
};

template <int BM>
__device__ inline Blocks blocks_of(const ll_attn_args &a, int k0, int k1, bool lowest, int shifted) {
    const int q0 = (int)a.q0;
    const ll_range r = ll_queries(a, k0, k1, shifted);
    Blocks b = {(r.lo - q0) / BM, r.hi <= r.lo ? -1 : (r.hi - 1 - q0) / BM, -1};
    if (!lowest) {
        const int hi = min(ll_hi(a, k0 - 1, shifted), (int)(a.q0 + a.t));
        if (hi > q0) b.prev = (hi - 1 - q0) / BM;
    }
    return b;
}

// A step: block m of the queries of head h, the last of the head's being `last`.
struct Step {
    int h, m, last;
};

// What a block's threads agree on: its keys of one key/value head.
template <class S> struct Keys {
    const ll_attn_args &a;
    const int d, r, j, n; // head size; query heads of a key/value head; the key/value head; number of the block of keys
    const int tq0, tq1;     // tokens of the tile
    const int first, kb;    // first key of the first block, and of this one
    const int64_t qstride, kstride, row; // elements between tokens; where the keys lie in k, v, dk and dv
    Blocks plain, shift;    // the queries that see them, by the class of the head

    __device__ __forceinline__ Keys(const ll_attn_args &a, int ticket, int nmax)
        : a(a), d(S::EXACT ? S::C : a.d), r(a.h / a.hkv), j(ticket / nmax), n(nmax - 1 - ticket % nmax), tq0((int)a.q0),
          tq1((int)(a.q0 + a.t)), first(ll_first_key(a, j)), kb(first + n * S::BN), qstride((int64_t)a.h * d),
          kstride((int64_t)a.hkv * d), row((kb - a.k0) * kstride + j * d), plain{0, -1, -1}, shift{0, -1, -1} {}

    __device__ __forceinline__ void find() {
        if (!ll_shifted(j * r, a.h)) plain = blocks_of<S::BM>(a, kb, kb + S::BN, n == 0, 0);
        if (ll_shifted(j * r + r - 1, a.h)) shift = blocks_of<S::BM>(a, kb, kb + S::BN, n == 0, 1);
    }

    // Goes on to the next block of queries of this head, or to the first of the next; false after the last.
    __device__ __forceinline__ bool advance(Step &s) const {
        if (s.m < s.last) return s.m++, true;
        while (++s.h < j * r + r) {
            const Blocks b = ll_shifted(s.h, a.h) ? shift : plain; // a copy: a choice of addresses is undone late
            if (b.last >= b.first) return s.m = b.first, s.last = b.last, true;
        }
        return false;
    }

    __device__ __forceinline__ void fetch_keys(const Places<S> &at) const {
        ll_fill<S::BN, S::C, S::THREADS, S::EXACT>(at.k, (const bf16 *)a.k + row, kstride, tq1 - kb, d, threadIdx.x);
        ll_fill<S::BN, S::C, S::THREADS, S::EXACT>(at.v, (const bf16 *)a.v + row, kstride, tq1 - kb, d, threadIdx.x);
    }

    __device__ __forceinline__ void fetch(const Places<S> &at, int stage, Step s) const {
        constexpr int BM = S::BM, C = S::C, THREADS = S::THREADS;
        const int64_t from = (int64_t)s.m * BM * qstride + s.h * d;
        const int rows = min(BM, (int)a.t - s.m * BM), tid = threadIdx.x;
        ll_fill<BM, C, THREADS, S::EXACT>(at.q(stage), (const bf16 *)a.q + from, qstride, rows, d, tid);
        ll_fill<BM, C, THREADS, S::EXACT>(at.dout(stage), (const bf16 *)a.dout + from, qstride, rows, d, tid);
        for (int i = tid; i < 2 * BM; i += THREADS) {
            float *to = at.stats(stage) + i;
            const float *x = (i < BM ? a.lse : a.delta) + s.h * a.t + s.m * BM + i % BM;
            if (i % BM < rows) ll_cp4(shared_address(to), x, true);
            else *to = i < BM ? CUDART_INF_F : 0; // a row past the tile: p = exp(-inf) = 0
        }
        ll_cp_commit();
    }
};

} // namespace

#endif
