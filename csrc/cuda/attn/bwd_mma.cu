// Segmented attention backward with mma.sync (FlashAttention-2, arXiv 2307.08691, alg. 2): one block computes dk and
// dv of BN keys of one key/value head, walking over its query heads and over the queries that see the keys, in blocks
// of BM. Five products a pair of blocks.
//
// dq of a block of queries is summed by the blocks of keys that it sees, one after the other in descending order,
// without atomics, so the bits are always the same: work holds the sums and, for every sum, how many have added to it.
// The diagonal block of keys comes first, so that all blocks of keys walk abreast, each a little behind the block
// above it. Blocks take their keys in that order by a ticket, so whom one waits for is running or done. The last to
// add writes the result.
#include "bwd_mma.cuh"

namespace {

// delta (H,T) = sum over D of dout·o, a warp a row
__global__ void attn_delta(const __grid_constant__ ll_attn_args a) {
    const int64_t row = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= a.t * a.h) return;
    const __nv_bfloat162 *x = (const __nv_bfloat162 *)a.dout + row * a.d / 2;
    const __nv_bfloat162 *y = (const __nv_bfloat162 *)a.o + row * a.d / 2;
    float sum = 0;
    for (int i = threadIdx.x % 32; i < a.d / 2; i += 32) {
        float2 u = __bfloat1622float2(x[i]), v = __bfloat1622float2(y[i]);
        sum += u.x * v.x + u.y * v.y;
    }
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (threadIdx.x % 32 == 0) a.delta[row % a.h * a.t + row / a.h] = sum;
}

// What a thread holds of its warp's keys. (Beside what the warp agrees on, not in one struct with it: the compiler
// takes a struct with arrays apart late, and its numbers with it.)
template <class S> struct Registers {
    float dk[S::KT][S::DC / 8][4], dv[S::KT][S::DC / 8][4];
    int hi[S::KT][2]; // hi of the thread's keys
};

// A warp's place in the block.
template <class S> struct Warp {
    static constexpr int C = S::C, BM = S::BM, BN = S::BN, KT = S::KT, SC = S::SC, DC = S::DC, QT = S::QT, QC = S::QC;
    typedef float Scores[KT][SC / 8][4];
    typedef float Queries[QT][QC / 8][4];

    const Keys<S> &b;
    const ll_attn_args &a;
    const int lane, warp, g, t2;
    const int wk, ws, wc;  // its first key, query of s, column of dk
    const int wq, wqc;     // its first query and column of dq

    __device__ __forceinline__ explicit Warp(const Keys<S> &b)
        : b(b), a(b.a), lane(threadIdx.x & 31), warp(threadIdx.x >> 5), g(lane >> 2), t2((lane & 3) * 2),
          wk(warp % S::KW * 16 * KT), ws(warp / S::KW * SC), wc(warp / S::KW * DC), wq(warp % S::QM * 16 * QT),
          wqc(warp / S::QM * QC) {}

    // s = exp(scores - lse), rounded to pᵀ too: the queries [q0, q1) of the stage; whi0 is hi of the warp's first
    // key.
    __device__ __forceinline__ void probabilities(Scores &s, const Registers<S> &r, const Places<S> &at, int stage,
                                                  int q0, int q1, int whi0) const {
        const ll_rows<C> &ks = at.k, qs = at.q(stage);
        const float sl2 = ll_unit<S::CAPPED>(a) * LOG2E, *const lse = at.stats(stage);
        ll_zero(s);
        ll_product<C>(
            s, [&](auto &f, int r, int k) { ks.a(f, wk + r, k, lane); },
            [&](auto &f, int n, int k) { qs.b_t(f, ws + n, k, lane); });
#pragma unroll
        for (int i = 0; i < SC / 8; i++) {
            const float2 x = *(const float2 *)(lse + ws + i * 8 + t2);
#pragma unroll
            for (int k = 0; k < KT; k++) ll_cap<S::CAPPED>(s[k][i], a);
#pragma unroll
            for (int k = 0; k < KT; k++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[k][i][e] = ll_exp2(s[k][i][e] * sl2 - (e % 2 ? x.y : x.x) * LOG2E);
        }
        if (ll_masked(q0, b.kb + wk, b.kb + wk + KT * 16, 0) || q1 > whi0) {
#pragma unroll
            for (int k = 0; k < KT; k++)
#pragma unroll
                for (int i = 0; i < SC / 8; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        const int q = q0 + i * 8 + t2 + e % 2;
                        if (q < b.kb + wk + k * 16 + e / 2 * 8 + g || q >= r.hi[k][e / 2]) s[k][i][e] = 0;
                    }
        }
#pragma unroll
        for (int k = 0; k < KT; k++)
#pragma unroll
            for (int i = 0; i < SC / 8; i++) put(at.p, k, i, s[k][i][0], s[k][i][1], s[k][i][2], s[k][i][3]);
    }

    // Probabilities times the slope of the cap.
    __device__ __forceinline__ void slopes(Scores &s, const Places<S> &at, int stage) const {
        const float *const lse = at.stats(stage), by = 1 / (a.cap * LOG2E);
#pragma unroll
        for (int i = 0; i < SC / 8; i++) {
            const float2 x = *(const float2 *)(lse + ws + i * 8 + t2);
#pragma unroll
            for (int k = 0; k < KT; k++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[k][i][e] *= ll_slope(s[k][i][e], (e % 2 ? x.y : x.x) * LOG2E, by);
        }
    }

    // dsᵀ = pᵀ·(v·doᵀ - delta), times the slope of the cap
    __device__ __forceinline__ void gradients(Scores &s, const Places<S> &at, int stage) const {
        if (S::CAPPED) slopes(s, at, stage);
        const ll_rows<C> &vs = at.v, os = at.dout(stage);
        const float *const delta = at.stats(stage) + BM;
        Scores dp;
        ll_zero(dp);
        ll_product<C>(
            dp, [&](auto &f, int r, int k) { vs.a(f, wk + r, k, lane); },
            [&](auto &f, int n, int k) { os.b_t(f, ws + n, k, lane); });
#pragma unroll
        for (int i = 0; i < SC / 8; i++) {
            const float2 x = *(const float2 *)(delta + ws + i * 8 + t2);
#pragma unroll
            for (int k = 0; k < KT; k++)
                put(at.ds, k, i, s[k][i][0] * (dp[k][i][0] - x.x), s[k][i][1] * (dp[k][i][1] - x.y),
                    s[k][i][2] * (dp[k][i][2] - x.x), s[k][i][3] * (dp[k][i][3] - x.y));
        }
    }

    // pᵀ and dsᵀ where none of the warp's queries sees any of its keys.
    __device__ __forceinline__ void nothing(const Places<S> &at) const {
#pragma unroll
        for (int i = 0; i < KT * SC / 8; i++) {
            put(at.p, i / (SC / 8), i % (SC / 8), 0, 0, 0, 0);
            put(at.ds, i / (SC / 8), i % (SC / 8), 0, 0, 0, 0);
        }
    }

    // Writes fragment (k,i) of the warp's part of pᵀ or dsᵀ.
    __device__ __forceinline__ void put(ll_rows<BM> to, int k, int i, float x0, float x1, float x2, float x3) const {
        to.put(wk + k * 16, ws + i * 8, x0, x1, x2, x3, lane);
    }

    // dv += pᵀ·do and dk += dsᵀ·q
    __device__ __forceinline__ void keys(Registers<S> &r, const Places<S> &at, int stage) const {
        const ll_rows<BM> &ps = at.p, &ds = at.ds;
        const ll_rows<C> qs = at.q(stage), os = at.dout(stage);
        ll_product<BM>(
            r.dv, [&](auto &f, int r, int k) { ps.a(f, wk + r, k, lane); },
            [&](auto &f, int n, int k) { os.b(f, k, wc + n, lane); });
        ll_product<BM>(
            r.dk, [&](auto &f, int r, int k) { ds.a(f, wk + r, k, lane); },
            [&](auto &f, int n, int k) { qs.b(f, k, wc + n, lane); });
    }

    // dq += ds·k
    __device__ __forceinline__ void queries(Queries &dq, const Places<S> &at) const {
        const ll_rows<BM> &ds = at.ds;
        const ll_rows<C> &ks = at.k;
        ll_product<BN>(
            dq, [&](auto &f, int r, int k) { ds.a_t(f, wq + r, k, lane); },
            [&](auto &f, int n, int k) { ks.b(f, k, wqc + n, lane); });
    }

    // The sum of dq so far, from the work memory and back there.
    __device__ __forceinline__ static void load(Queries &dq, const float4 *sum) {
#pragma unroll
        for (int i = 0; i < QT * QC / 8; i++) {
            const float4 x = __ldcg(sum + i * 32);
            float *y = dq[i / (QC / 8)][i % (QC / 8)];
            y[0] = x.x, y[1] = x.y, y[2] = x.z, y[3] = x.w;
        }
    }
    __device__ __forceinline__ static void store(const Queries &dq, float4 *sum) {
#pragma unroll
        for (int i = 0; i < QT * QC / 8; i++) {
            const float *y = dq[i / (QC / 8)][i % (QC / 8)];
            __stcg(sum + i * 32, make_float4(y[0], y[1], y[2], y[3]));
        }
    }

    // The sum when it is whole: the result.
    __device__ __forceinline__ void write_queries(const Queries &dq, Step s) const {
        const int d = b.d;
#pragma unroll
        for (int e = 0; e < 2 * QT; e++) {
            const int row = s.m * BM + wq + e * 8 + g;
            uint32_t *out = (uint32_t *)((bf16 *)a.dq + row * b.qstride + s.h * d + wqc + t2);
            if (row < a.t)
#pragma unroll
                for (int c = 0; c < QC / 8; c++)
                    if (S::EXACT || wqc + c * 8 + t2 < d) {
                        const float *y = dq[e / 2][c] + e % 2 * 2;
                        out[c * 4] = ll_pack(y[0] * a.scale, y[1] * a.scale);
                    }
        }
    }

    __device__ __forceinline__ void write_keys(const Registers<S> &r) const {
        const int d = b.d;
#pragma unroll
        for (int e = 0; e < 2 * KT; e++) {
            const int key = wk + e * 8 + g;
            if (b.kb + key >= b.tq1) continue;
            const int64_t at = b.row + key * b.kstride + wc + t2;
#pragma unroll
            for (int c = 0; c < DC / 8; c++) {
                if (!S::EXACT && wc + c * 8 + t2 >= d) continue;
                const float *dk = r.dk[e / 2][c] + e % 2 * 2, *dv = r.dv[e / 2][c] + e % 2 * 2;
                if (a.all) {
                    *(uint32_t *)((bf16 *)a.dk + at + c * 8) = ll_pack(a.scale * dk[0], a.scale * dk[1]);
                    *(uint32_t *)((bf16 *)a.dv + at + c * 8) = ll_pack(dv[0], dv[1]);
                    continue;
                }
                float2 *pk = (float2 *)((float *)a.dk + at + c * 8), *pv = (float2 *)((float *)a.dv + at + c * 8);
                const float2 x = *pk, y = *pv;
                *pk = make_float2(x.x + a.scale * dk[0], x.y + a.scale * dk[1]);
                *pv = make_float2(y.x + dv[0], y.y + dv[1]);
            }
        }
    }
};

// The block's turn to take keys.
template <class S> __device__ __forceinline__ int take_ticket(const Work &w, const Places<S> &at) {
    if (threadIdx.x == 0) at.shared->ticket[0] = atomicAdd(w.ticket, 1);
    __syncthreads();
    return at.shared->ticket[0];
}

template <class S>
__global__ void __launch_bounds__(S::THREADS) attn_bwd(const __grid_constant__ ll_attn_args a, int nmax) {
    constexpr int BM = S::BM, BN = S::BN, KT = S::KT, SC = S::SC;
    extern __shared__ __align__(128) char smem[];
    const Places<S> at(smem);
    const Work work = work_of(a, S::C);
    Keys<S> b(a, take_ticket<S>(work, at), nmax);
    if (b.kb >= b.tq1) return;
    b.fetch_keys(at);
    b.find();
    Step s{b.j * b.r - 1, 0, -1};
    if (!b.advance(s)) return;
    b.fetch(at, 0, s);

    const Warp<S> w(b);
    const int wk = b.kb + w.wk, nblocks = (int)((a.t + BM - 1) / BM);
    Registers<S> r;
    ll_zero(r.dk);
    ll_zero(r.dv);
    int cls = -1, whi0 = 0, whi1 = 0; // of the class of h: hi of the warp's first key and last
    int *post = nullptr, posted = 0;  // the counter of a sum written in the step before
    for (int stage = 0;; stage ^= S::STAGES - 1) {
        Step next = s;
        const bool more = b.advance(next);
        ll_cp_wait<0>();
        __syncthreads();
        if (S::STAGES == 2 && more) b.fetch(at, stage ^ 1, next);
        if (post && w.warp == 1) {
            if (w.lane == 0) Turn{post}.announce(posted);
            __syncwarp();
        }

        const int q0 = b.tq0 + s.m * BM, q1 = min(q0 + BM, b.tq1), sq0 = q0 + w.ws, sq1 = min(sq0 + SC, q1);
        if (ll_shifted(s.h, a.h) != cls) {
            cls = ll_shifted(s.h, a.h);
#pragma unroll
            for (int i = 0; i < KT * 2; i++) r.hi[i / 2][i % 2] = ll_hi(a, wk + i * 8 + w.g, cls);
            whi0 = ll_hi(a, wk, cls), whi1 = ll_hi(a, min(wk + KT * 16, b.tq1) - 1, cls);
        }
        if (sq0 < sq1 && wk < sq1 && sq0 < whi1) { // some of these queries see some of these keys
            typename Warp<S>::Scores p;
            w.probabilities(p, r, at, stage, sq0, sq1, whi0);
            w.gradients(p, at, stage);
        } else
            w.nothing(at);

        const int before = (q1 - 1 - b.first) / BN - b.n; // how many blocks of keys add to this dq before
        const bool final = s.m > (cls ? b.shift.prev : b.plain.prev);
        const int64_t block = (int64_t)s.h * nblocks + s.m;
        if (before && w.warp == 0) {
            if (w.lane == 0) Turn{work.added + block}.await(before);
            __syncwarp();
        }
        __syncthreads();
        float4 *sum = work.dq + (block * S::WARPS + w.warp) * (S::QT * S::QC / 8) * 32 + w.lane;
        typename Warp<S>::Queries dq;
        ll_zero(dq);
        if (before) w.load(dq, sum); // it comes while dv and dk are computed
        if (wk < q1 && q0 < whi1) w.keys(r, at, stage);
        w.queries(dq, at);

        post = nullptr;
        if (!final) {
            w.store(dq, sum);
            post = work.added + block, posted = before + 1;
        } else
            w.write_queries(dq, s);
        if (!more) break;
        s = next;
        if (S::STAGES == 1) {
            __syncthreads();
            b.fetch(at, 0, s);
        }
    }
    __syncthreads();
    if (post && threadIdx.x == 0) Turn{post}.announce(posted);
    w.write_keys(r);
}

template <class S> int launch(cudaStream_t s, const ll_attn_args &a) {
    constexpr int bytes = sizeof(Shared<S>);
    cudaError_t e = cudaFuncSetAttribute(attn_bwd<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e == cudaSuccess) e = cudaMemsetAsync(a.work, 0, work_of(a, S::C).zeroed, s);
    if (e != cudaSuccess) return e;
    attn_delta<<<(unsigned)((a.t * a.h + 7) / 8), 256, 0, s>>>(a);
    if (a.fresh && !a.all) {
        const int64_t row = (int64_t)a.hkv * a.d, at = (a.q0 - a.k0) * row;
        e = cudaMemsetAsync((float *)a.dk + at, 0, a.t * row * sizeof(float), s);
        if (e == cudaSuccess) e = cudaMemsetAsync((float *)a.dv + at, 0, a.t * row * sizeof(float), s);
        if (e != cudaSuccess) return e;
    }
    // blocks of keys, if the first is wanted from row 0 of k on
    const int nmax = (int)((a.q0 + a.t - a.k0 + S::BN - 1) / S::BN);
    attn_bwd<S><<<nmax * a.hkv, S::THREADS, bytes, s>>>(a, nmax);
    return cudaGetLastError();
}

int padded(int d) { return d <= 32 ? 32 : d <= 64 ? 64 : d <= 128 ? 128 : 256; }

} // namespace

size_t ll_attn_bwd_mma_work(const ll_attn_args *a) { return work_of(*a, padded(a->d)).bytes; }

int ll_attn_bwd_mma(const ll_device *device, cudaStream_t s, const ll_attn_args *a) {
    const bool large = device->shared >= 163 * 1024; // 8.0 and 9.0; 8.6 and 8.9 have 99 KB
    if (a->cap > 0) switch (padded(a->d)) {
        case 32: return launch<Shape<32, 64, 128, 2, 2, 2, false, true>>(s, *a);
        case 64: return launch<Shape<64, 64, 128, 2, 2, 2, false, true>>(s, *a);
        case 128:
            if (large) return launch<Shape<128, 64, 128, 2, 2, 2, false, true>>(s, *a);
            return launch<Shape<128, 32, 64, 2, 2, 2, false, true>>(s, *a);
        default: return launch<Shape<256, 32, 32, 1, 2, 1, false, true>>(s, *a);
        }
    switch (padded(a->d)) {
    case 32: return launch<Shape<32, 64, 128, 2, 2, 2, false>>(s, *a);
    case 64:
        if (a->d < 64) return launch<Shape<64, 64, 128, 2, 2, 2, false>>(s, *a);
        if (large) return launch<Shape<64, 128, 128, 2, 2, 2, true>>(s, *a);
        return launch<Shape<64, 64, 128, 2, 2, 2, true>>(s, *a);
    case 128:
        if (a->d < 128 && large) return launch<Shape<128, 64, 128, 2, 2, 2, false>>(s, *a);
        if (a->d < 128) return launch<Shape<128, 32, 64, 2, 2, 2, false>>(s, *a);
        if (large) return launch<Shape<128, 64, 128, 2, 2, 2, true>>(s, *a);
        return launch<Shape<128, 32, 64, 2, 2, 2, true>>(s, *a);
    }
    return launch<Shape<256, 32, 32, 1, 2, 1, false>>(s, *a);
}
