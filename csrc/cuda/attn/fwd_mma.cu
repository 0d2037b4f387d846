// Segmented attention forward with mma.sync (FlashAttention-2, arXiv 2307.08691, alg. 1): one block computes BM
// queries of one head, walking over the keys from the first query's segment start in blocks of BN. All warps copy; each
// computes BM/WARPS queries. Keys and values take turns: one is fetched while the other is multiplied.
//
// Shared memory, of head size 128; the queries' place receives the results before they leave:
//
//        0 KB             32 KB    48 KB    64 KB
//        | q (128,128)    | k (64,128) | v (64,128) |
//
// Barriers, each of all threads, twice a step:
//
//   after a thread's copies of keys     the keys are there, all have done with the values before: values are fetched
//   after a thread's copies of values   the values are there, all have done with the keys: the next keys are fetched
#include "attn.cuh"
#include "mma.cuh"

namespace {

// C: head size rounded up. EXACT: it is the head size. CAPPED: scores are.
template <int C_, int BM_, int BN_, int WARPS_, bool EXACT_, bool CAPPED_ = false> struct Shape {
    static constexpr int C = C_, BM = BM_, BN = BN_, WARPS = WARPS_, MT = BM / WARPS / 16, THREADS = WARPS * 32;
    static constexpr bool EXACT = EXACT_, CAPPED = CAPPED_;
};

template <class S> struct Shared {
    bf16 q[S::BM * S::C], k[S::BN * S::C], v[S::BN * S::C];
};
static_assert(sizeof(Shared<Shape<128, 128, 64, 4, true>>) == 64 * 1024, "as drawn");

// The same by its address.
template <class S> struct Places {
    const uint32_t base;
    const ll_rows<S::C> q, k, v;

    __device__ __forceinline__ explicit Places(const char *smem)
        : base(ll_base(smem)), q{base + uint32_t(offsetof(Shared<S>, q))},
          k{base + uint32_t(offsetof(Shared<S>, k))}, v{base + uint32_t(offsetof(Shared<S>, v))} {}
};

// What a block's threads agree on: its queries of one head, and the keys that they see.
template <class S> struct Block {
    const ll_attn_args &a;
    const int h, kv, shifted;    // query head, its key/value head, its class
    const int row0, q0, q1;      // the first query of the tile; the queries' tokens [q0, q1)
    const ll_range keys;
    const bool one;              // one segment: causality is the only mask

    __device__ __forceinline__ explicit Block(const ll_attn_args &a)
        : a(a), h(blockIdx.y), kv(h / (a.h / a.hkv)), shifted(ll_shifted(h, a.h)),
          row0((gridDim.x - 1 - blockIdx.x) * S::BM), // the heavy blocks of full attention first
          q0((int)a.q0 + row0), q1((int)min(a.q0 + a.t, (int64_t)q0 + S::BM)), keys(ll_keys(a, q0, q1, shifted)),
          one(ll_lo(a, q1 - 1, shifted) == keys.lo) {}

    // The head size, and elements between tokens: functions, for the compiler to see constants in them.
    __device__ __forceinline__ int d() const { return S::EXACT ? S::C : a.d; }
    __device__ __forceinline__ int64_t qstride() const { return (int64_t)a.h * d(); }
    __device__ __forceinline__ int64_t kstride() const { return (int64_t)a.hkv * d(); }

    __device__ __forceinline__ void fetch_queries(const Places<S> &at) const {
        const bf16 *q = (const bf16 *)a.q + row0 * qstride() + h * d();
        ll_fill<S::BM, S::C, S::THREADS, S::EXACT>(at.q, q, qstride(), q1 - q0, d(), threadIdx.x);
    }
    // A block of keys or values from token kb on, which lie at p.
    __device__ __forceinline__ void fetch(ll_rows<S::C> to, const bf16 *p, int kb) const {
        ll_fill<S::BN, S::C, S::THREADS, S::EXACT>(to, p, kstride(), q1 - kb, d(), threadIdx.x);
        ll_cp_commit();
    }
    // Where the first key of the block's own head lies in k or v.
    __device__ __forceinline__ const bf16 *first(const void *x) const {
        return (const bf16 *)x + (keys.lo - a.k0) * kstride() + kv * d();
    }
};

// What a thread holds of its warp's queries. (Beside what the warp agrees on, not in one struct with it: the compiler
// takes a struct with arrays apart late, and its numbers with it.)
template <class S> struct Registers {
    static constexpr int C = S::C, MT = S::MT;
    float o[MT][C / 8][4];    // sums of values
    float m[MT][2], l[MT][2]; // the greatest score so far, and the sum of exponentials under it
    int lo[MT][2];            // lo of the rows

    __device__ __forceinline__ void clear() {
        ll_zero(o);
#pragma unroll
        for (int i = 0; i < MT * 2; i++) m[i / 2][i % 2] = -CUDART_INF_F, l[i / 2][i % 2] = 0;
    }
};

// A warp and its queries.
template <class S> struct Warp {
    static constexpr int C = S::C, BN = S::BN, MT = S::MT;
    typedef float Scores[MT][BN / 8][4];

    const Block<S> &b;
    const int lane, row; // the warp's first row of the block
    const int q0, q1;    // its queries' tokens [q0, q1)
    const bool idle;    // it has none
    const int lo0, lo1; // lo of its first and last query
    const float c;      // exp(unit·x) = 2^(c·x)

    __device__ __forceinline__ explicit Warp(const Block<S> &b)
        : b(b), lane(threadIdx.x & 31), row((threadIdx.x >> 5) * MT * 16), q0(b.q0 + row), q1(min(q0 + MT * 16, b.q1)),
          idle(q0 >= q1), lo0(b.one || idle ? b.keys.lo : ll_lo(b.a, q0, b.shifted)),
          lo1(b.one || idle ? b.keys.lo : ll_lo(b.a, q1 - 1, b.shifted)), c(ll_unit<S::CAPPED>(b.a) * LOG2E) {}

    __device__ __forceinline__ void begin(Registers<S> &x) const {
#pragma unroll
        for (int i = 0; i < MT * 2; i++)
            x.lo[i / 2][i % 2] = b.one ? b.keys.lo : ll_lo(b.a, min(q0 + i * 8 + lane / 4, b.q1 - 1), b.shifted);
    }

    // Whether none of its queries sees the block of keys from kb on.
    __device__ __forceinline__ bool skips(int kb) const { return idle || kb >= q1 || kb + BN <= lo0; }

    __device__ __forceinline__ void scores(Scores &s, const Places<S> &at) const {
        const ll_rows<C> &qs = at.q, &ks = at.k;
        ll_zero(s);
        ll_product<C>(
            s, [&](auto &f, int r, int k) { qs.a(f, row + r, k, lane); },
            [&](auto &f, int n, int k) { ks.b_t(f, n, k, lane); });
#pragma unroll
        for (int i = 0; i < MT * BN / 8; i++) ll_cap<S::CAPPED>(s[i / (BN / 8)][i % (BN / 8)], b.a);
    }

    __device__ __forceinline__ void mask(Scores &s, const Registers<S> &x, int kb) const {
        if (!ll_masked(q0, kb, kb + BN, lo1)) return;
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int n = 0; n < BN / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int q = q0 + mt * 16 + e / 2 * 8 + lane / 4, key = kb + n * 8 + (lane & 3) * 2 + e % 2;
                    if (key > q || key < x.lo[mt][e / 2]) s[mt][n][e] = -CUDART_INF_F;
                }
    }

    // Scores to probabilities under the new maximum; what was summed under the one before is scaled.
    __device__ __forceinline__ void softmax(Scores &s, Registers<S> &x) const {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float top = x.m[mt][r];
#pragma unroll
                for (int n = 0; n < BN / 8; n++) top = fmaxf(top, fmaxf(s[mt][n][r * 2], s[mt][n][r * 2 + 1]));
                top = quad_max(top);
                const float ref = top == -CUDART_INF_F ? 0 : top * c; // a row that sees nothing yet keeps sums of 0
                const float old = ll_exp2(x.m[mt][r] * c - ref);
                float sum = 0;
#pragma unroll
                for (int n = 0; n < BN / 8; n++)
#pragma unroll
                    for (int e = r * 2; e < r * 2 + 2; e++) sum += s[mt][n][e] = ll_exp2(s[mt][n][e] * c - ref);
                x.m[mt][r] = top;
                x.l[mt][r] = x.l[mt][r] * old + sum;
#pragma unroll
                for (int n = 0; n < C / 8; n++) x.o[mt][n][r * 2] *= old, x.o[mt][n][r * 2 + 1] *= old;
            }
    }

    __device__ __forceinline__ void values(Registers<S> &x, const Scores &s, const Places<S> &at) const {
        const ll_rows<C> &vs = at.v;
        ll_product<BN>(
            x.o,
            [&](auto &f, int r, int k) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const float(&p)[4] = s[r / 16][k / 8 + e / 2];
                    f[e] = ll_pack(p[e % 2 * 2], p[e % 2 * 2 + 1]);
                }
            },
            [&](auto &f, int n, int k) { vs.b(f, k, n, lane); });
    }

    // Leaves the results in the queries' place, of which the warp's rows are its own, and lse where it belongs.
    __device__ __forceinline__ void divide(const Registers<S> &x, const Places<S> &at) const {
        const ll_attn_args &a = b.a;
#pragma unroll
        for (int mt = 0; mt < MT; mt++) {
            float f[2];
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float sum = quad_sum(x.l[mt][r]);
                f[r] = 1 / sum;
                const int q = q0 + mt * 16 + r * 8 + lane / 4;
                const float lse = x.m[mt][r] * ll_unit<S::CAPPED>(a) + logf(sum);
                if ((lane & 3) == 0 && q < b.q1) a.lse[b.h * a.t + q - a.q0] = lse;
            }
#pragma unroll
            for (int n = 0; n < C / 8; n++) {
                const float(&y)[4] = x.o[mt][n];
                at.q.put(row + mt * 16, n * 8, y[0] * f[0], y[1] * f[0], y[2] * f[1], y[3] * f[1], lane);
            }
        }
        __syncwarp();
    }

    // Carries them out in whole chunks.
    __device__ __forceinline__ void store(const Places<S> &at, const char *smem) const {
        const int d = b.d();
        for (int i = lane; i < MT * 16 * C / 8; i += 32) {
            const int r = i / (C / 8), k = i % (C / 8);
            if (q0 + r >= b.q1) break;
            bf16 *out = (bf16 *)b.a.o + (q0 + r - b.a.q0) * b.qstride() + b.h * d + k * 8;
            const uint4 x = *(const uint4 *)(smem + at.q.at(row + r, k) - at.base);
            if (S::EXACT || (d % 8 == 0 && k * 8 < d)) *(uint4 *)out = x;
            else if (d % 8) {
                const uint32_t w[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (k * 8 + e * 2 < d) ((uint32_t *)out)[e] = w[e];
            }
        }
    }
};

template <class S> __global__ void __launch_bounds__(S::THREADS) attn_fwd(const __grid_constant__ ll_attn_args a) {
    extern __shared__ __align__(128) char smem[];
    const Places<S> at(smem);
    const Block<S> b(a);
    const Warp<S> w(b);
    Registers<S> x;
    w.begin(x);
    const bf16 *k = b.first(a.k), *v = b.first(a.v);
    b.fetch_queries(at);
    b.fetch(at.k, k, b.keys.lo);
    x.clear();
    for (int kb = b.keys.lo; kb < b.q1; kb += S::BN) {
        ll_cp_wait<0>();
        __syncthreads();
        b.fetch(at.v, v, kb);
        const bool skip = w.skips(kb);
        typename Warp<S>::Scores s;
        if (!skip) w.scores(s, at);
        ll_cp_wait<0>();
        __syncthreads();
        if (kb + S::BN < b.q1) {
            k += S::BN * b.kstride();
            b.fetch(at.k, k, kb + S::BN);
        }
        v += S::BN * b.kstride();
        if (skip) continue;
        w.mask(s, x, kb);
        w.softmax(s, x);
        w.values(x, s, at);
    }
    w.divide(x, at);
    w.store(at, smem);
}

template <class S> int launch(cudaStream_t s, const ll_attn_args &a) {
    constexpr int bytes = sizeof(Shared<S>);
    cudaError_t e = cudaFuncSetAttribute(attn_fwd<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e != cudaSuccess) return e;
    attn_fwd<S><<<dim3((unsigned)((a.t + S::BM - 1) / S::BM), a.h), S::THREADS, bytes, s>>>(a);
    return cudaGetLastError();
}

} // namespace

int ll_attn_fwd_mma(const ll_device *, cudaStream_t s, const ll_attn_args *a) {
    if (a->cap > 0) {
        if (a->d <= 32) return launch<Shape<32, 128, 64, 4, false, true>>(s, *a);
        if (a->d <= 64) return launch<Shape<64, 128, 64, 4, false, true>>(s, *a);
        if (a->d == 128) return launch<Shape<128, 128, 64, 4, true, true>>(s, *a);
        if (a->d <= 128) return launch<Shape<128, 128, 64, 4, false, true>>(s, *a);
        return launch<Shape<256, 64, 64, 4, false, true>>(s, *a);
    }
    switch (a->d) {
    case 64: return launch<Shape<64, 128, 128, 4, true>>(s, *a);
    case 128: return launch<Shape<128, 128, 64, 4, true>>(s, *a);
    }
    if (a->d <= 32) return launch<Shape<32, 128, 64, 4, false>>(s, *a);
    if (a->d <= 64) return launch<Shape<64, 128, 64, 4, false>>(s, *a);
    if (a->d <= 128) return launch<Shape<128, 128, 64, 4, false>>(s, *a);
    return launch<Shape<256, 64, 64, 4, false>>(s, *a);
}
