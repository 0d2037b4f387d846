// Segmented attention backward with mma.sync (FlashAttention-2, arXiv 2307.08691, alg. 2): one block computes dk and
// dv of BN keys of one key/value head, walking over its query heads and over the queries that see the keys, in blocks
// of BM. Five products a pair of blocks.
//
// dq of a block of queries is summed by the blocks of keys that it sees, one after the other in descending order,
// without atomics, so the bits are always the same: work holds the sums and, for every sum, how many have added to it.
// The diagonal block of keys comes first, so that all blocks of keys walk abreast, each a little behind the block
// above it. Blocks take their keys in that order by a ticket, so whom one waits for is running or done. The last to
// add writes the result.
#include <math_constants.h>

#include "mma.cuh"
#include "attn.cuh"

namespace {

constexpr float LOG2E = 1.44269504088896340736f;

// delta (H,T) = sum over D of dout·o, a warp a row
__global__ void attn_delta(const __grid_constant__ ll_attn_args a) {
    const int64_t row = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= a.t * a.h) return;
    const __nv_bfloat162 *x = (const __nv_bfloat162 *)a.dout + row * a.d / 2, *y = (const __nv_bfloat162 *)a.o + row * a.d / 2;
    float sum = 0;
    for (int i = threadIdx.x % 32; i < a.d / 2; i += 32) {
        float2 u = __bfloat1622float2(x[i]), v = __bfloat1622float2(y[i]);
        sum += u.x * v.x + u.y * v.y;
    }
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (threadIdx.x % 32 == 0) a.delta[row % a.h * a.t + row / a.h] = sum;
}

// The workspace: a ticket, then a counter a block of queries and head, then their sums in the order of fragments.
struct work {
    int *ticket, *added;
    float4 *dq;
    size_t zeroed, bytes;
};

constexpr int BM_LEAST = 32, BM_MOST = 128;

// c is the head size rounded up. The same for every BM, so that a plan can be made without a device.
__host__ __device__ inline work cut(const ll_attn_args &a, int c) {
    const size_t rows = (size_t)((a.t + BM_MOST - 1) / BM_MOST) * BM_MOST * a.h;
    const size_t zeroed = 256 + (rows / BM_LEAST * 4 + 255) / 256 * 256;
    char *p = (char *)a.work;
    return {(int *)p, (int *)(p + 256), (float4 *)(p + zeroed), zeroed, zeroed + rows * c * 4};
}

// Waits until *p is x; what the thread that set it had seen, this thread then sees.
__device__ inline void await(const int *p, int x) {
    int y;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(y) : "l"(p) : "memory");
    while (y != x);
}
__device__ inline void announce(int *p, int x) { asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(p), "r"(x) : "memory"); }

// The blocks of queries of one head class that see the keys [k0, k1): first to last, none when last < first. Those
// above prev see no keys before k0.
struct blocks {
    int first, last, prev;
};

template <int BM> __device__ inline blocks queries(const ll_attn_args &a, int k0, int k1, bool lowest, int shifted) {
    const int q0 = (int)a.q0;
    const ll_range r = ll_queries(a, k0, k1, shifted);
    blocks b = {(r.lo - q0) / BM, r.hi <= r.lo ? -1 : (r.hi - 1 - q0) / BM, -1};
    if (!lowest) {
        const int hi = min(ll_hi(a, k0 - 1, shifted), (int)(a.q0 + a.t));
        if (hi > q0) b.prev = (hi - 1 - q0) / BM;
    }
    return b;
}

// How a block's warps share its work. C: head size rounded up. EXACT: it is the head size. BN/(16·KT) warps down own
// KT·16 keys each; SPLIT across share the queries of s and dp and the columns of dk and dv. STAGES: of q and dout.
template <int C, int BM, int BN, int KT, int SPLIT, int STAGES, bool EXACT> struct shape {
    static constexpr int KW = BN / 16 / KT, WARPS = KW * SPLIT, THREADS = WARPS * 32;
    static constexpr int SC = BM / SPLIT, DC = C / SPLIT;
    static constexpr int QT = C * BM / WARPS < 32 * 16 ? 1 : 2;           // dq: QT·16 queries a warp,
    static constexpr int QM = BM / 16 / QT, QN = WARPS / QM, QC = C / QN; // QM warps down, QN across, QC columns each
    static constexpr int KV = BN * C * 2, TILE = BM * C * 2, PS = BN * BM * 2;          // bytes of blocks of k, of q, of p
    static constexpr int SMEM = 2 * KV + 2 * STAGES * TILE + 2 * PS + STAGES * 2 * BM * 4 + 16;
    static_assert(SC % 16 == 0 && DC % 16 == 0 && QC % 16 == 0 && QM * QN == WARPS && BM >= BM_LEAST && BM <= BM_MOST, "");
};

template <int C, int BM, int BN, int KT, int SPLIT, int STAGES, bool EXACT>
__global__ void __launch_bounds__(shape<C, BM, BN, KT, SPLIT, STAGES, EXACT>::THREADS)
    attn_bwd(const __grid_constant__ ll_attn_args a, int nmax) {
    using S = shape<C, BM, BN, KT, SPLIT, STAGES, EXACT>;
    constexpr int THREADS = S::THREADS, SC = S::SC, DC = S::DC, QT = S::QT, QC = S::QC;
    extern __shared__ __align__(128) char smem[];
    const ll_rows<C> ks{ll_smem(smem)}, vs{ks.base + S::KV};
    const uint32_t qbase = vs.base + S::KV, obase = qbase + STAGES * S::TILE;
    const ll_rows<BM> ps{obase + STAGES * S::TILE}, ds{ps.base + S::PS}; // (BN,BM): the transposes of p and ds
    float *stats = (float *)(smem + (ds.base + S::PS - ks.base));         // [stage][lse, delta][BM]
    int *shared_ticket = (int *)(stats + STAGES * 2 * BM);

    const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t2 = (lane & 3) * 2;
    const work w = cut(a, C);
    if (tid == 0) *shared_ticket = atomicAdd(w.ticket, 1);
    __syncthreads();
    const int ticket = *shared_ticket;
    const int d = EXACT ? C : a.d, r = a.h / a.hkv, j = ticket / nmax, n = nmax - 1 - ticket % nmax;
    const int tq0 = (int)a.q0, tq1 = (int)(a.q0 + a.t), nblocks = (int)((a.t + BM - 1) / BM);
    const int kfirst = ll_first_key(a, j), kb = kfirst + n * BN;
    if (kb >= tq1) return;
    const int64_t qstride = (int64_t)a.h * d, kstride = (int64_t)a.hkv * d, krow = (kb - a.k0) * kstride + j * d;
    ll_fill<BN, C, THREADS, EXACT>(ks, (const bf16 *)a.k + krow, kstride, tq1 - kb, d, tid);
    ll_fill<BN, C, THREADS, EXACT>(vs, (const bf16 *)a.v + krow, kstride, tq1 - kb, d, tid);

    blocks plain{0, -1, -1}, shift{0, -1, -1};
    if (!ll_shifted(j * r, a.h)) plain = queries<BM>(a, kb, kb + BN, n == 0, 0);
    if (ll_shifted(j * r + r - 1, a.h)) shift = queries<BM>(a, kb, kb + BN, n == 0, 1);
    // steps to the next block of queries m of this head or the next one
    auto advance = [&](int &h, int &m, int &last) {
        if (m < last) return m++, true;
        while (++h < j * r + r) {
            const blocks &b = ll_shifted(h, a.h) ? shift : plain;
            if (b.last >= b.first) return m = b.first, last = b.last, true;
        }
        return false;
    };
    int h = j * r - 1, m = 0, last = -1;
    if (!advance(h, m, last)) return;

    auto fetch = [&](int stage, int h, int m) {
        const int64_t at = (int64_t)m * BM * qstride + h * d;
        const int rows = min(BM, (int)a.t - m * BM);
        ll_fill<BM, C, THREADS, EXACT>({qbase + stage * S::TILE}, (const bf16 *)a.q + at, qstride, rows, d, tid);
        ll_fill<BM, C, THREADS, EXACT>({obase + stage * S::TILE}, (const bf16 *)a.dout + at, qstride, rows, d, tid);
        for (int i = tid; i < 2 * BM; i += THREADS) {
            float *to = stats + stage * 2 * BM + i;
            if (i % BM < rows) ll_cp4(ll_smem(to), (i < BM ? a.lse : a.delta) + h * a.t + m * BM + i % BM, true);
            else *to = i < BM ? CUDART_INF_F : 0; // a row past the tile: p = exp(-inf) = 0
        }
        ll_cp_commit();
    };
    fetch(0, h, m);

    const int across = warp / S::KW, wk = warp % S::KW * 16 * KT, ws = across * SC, wc = across * DC; // keys, queries of s, columns of dk
    const int wq = warp % S::QM * 16 * QT, wqc = warp / S::QM * QC;                                  // queries and columns of dq
    const float sl2 = a.scale * LOG2E;
    float dk[KT][DC / 8][4], dv[KT][DC / 8][4];
    ll_zero(dk);
    ll_zero(dv);

    int cls = -1, hi[KT][2], whi0 = 0, whi1 = 0; // of the class of h: hi of this thread's keys, of the warp's first and last
    int *post = nullptr, posted = 0;             // the counter of a sum written in the step before
    for (int stage = 0;; stage ^= STAGES - 1) {
        int nh = h, nm = m, nlast = last;
        const bool more = advance(nh, nm, nlast);
        ll_cp_wait<0>();
        __syncthreads(); // this step's queries are here, and everyone has done with the step before
        if (STAGES == 2 && more) fetch(stage ^ 1, nh, nm);
        if (post && warp == 1) {
            if (lane == 0) announce(post, posted);
            __syncwarp();
        }

        const ll_rows<C> qs{qbase + stage * S::TILE}, os{obase + stage * S::TILE};
        const float *lse = stats + stage * 2 * BM, *delta = lse + BM;
        const int q0 = tq0 + m * BM, q1 = min(q0 + BM, tq1), sq0 = q0 + ws, sq1 = min(sq0 + SC, q1);
        if (ll_shifted(h, a.h) != cls) {
            cls = ll_shifted(h, a.h);
#pragma unroll
            for (int i = 0; i < KT * 2; i++) hi[i / 2][i % 2] = ll_hi(a, kb + wk + i * 8 + g, cls);
            whi0 = ll_hi(a, kb + wk, cls), whi1 = ll_hi(a, min(kb + wk + KT * 16, tq1) - 1, cls);
        }
        if (sq0 < sq1 && kb + wk < sq1 && sq0 < whi1) { // some of these queries see some of these keys
            float s[KT][SC / 8][4], dp[KT][SC / 8][4];
            ll_zero(s);
            ll_product<C>(
                s, [&](auto &f, int r, int k) { ks.a(f, wk + r, k, lane); }, [&](auto &f, int n, int k) { qs.b_t(f, ws + n, k, lane); });
#pragma unroll
            for (int i = 0; i < SC / 8; i++) {
                const float2 x = *(const float2 *)(lse + ws + i * 8 + t2);
#pragma unroll
                for (int k = 0; k < KT; k++)
#pragma unroll
                    for (int e = 0; e < 4; e++) s[k][i][e] = ll_exp2(s[k][i][e] * sl2 - (e % 2 ? x.y : x.x) * LOG2E);
            }
            if (ll_masked(sq0, kb + wk, kb + wk + KT * 16, 0) || sq1 > whi0) {
#pragma unroll
                for (int k = 0; k < KT; k++)
#pragma unroll
                    for (int i = 0; i < SC / 8; i++)
#pragma unroll
                        for (int e = 0; e < 4; e++) {
                            const int q = sq0 + i * 8 + t2 + e % 2;
                            if (q < kb + wk + k * 16 + e / 2 * 8 + g || q >= hi[k][e / 2]) s[k][i][e] = 0;
                        }
            }
#pragma unroll
            for (int k = 0; k < KT; k++)
#pragma unroll
                for (int i = 0; i < SC / 8; i++) ps.put(wk + k * 16, ws + i * 8, s[k][i][0], s[k][i][1], s[k][i][2], s[k][i][3], lane);
            ll_zero(dp);
            ll_product<C>(
                dp, [&](auto &f, int r, int k) { vs.a(f, wk + r, k, lane); }, [&](auto &f, int n, int k) { os.b_t(f, ws + n, k, lane); });
#pragma unroll
            for (int i = 0; i < SC / 8; i++) {
                const float2 x = *(const float2 *)(delta + ws + i * 8 + t2);
#pragma unroll
                for (int k = 0; k < KT; k++)
                    ds.put(wk + k * 16, ws + i * 8, s[k][i][0] * (dp[k][i][0] - x.x), s[k][i][1] * (dp[k][i][1] - x.y),
                           s[k][i][2] * (dp[k][i][2] - x.x), s[k][i][3] * (dp[k][i][3] - x.y), lane);
            }
        } else
#pragma unroll
            for (int i = 0; i < KT * SC / 8; i++) {
                ps.put(wk + i / (SC / 8) * 16, ws + i % (SC / 8) * 8, 0, 0, 0, 0, lane);
                ds.put(wk + i / (SC / 8) * 16, ws + i % (SC / 8) * 8, 0, 0, 0, 0, lane);
            }

        const int before = (q1 - 1 - kfirst) / BN - n; // how many blocks of keys add to this dq before
        const bool final = m > (cls ? shift : plain).prev;
        const int64_t block = (int64_t)h * nblocks + m;
        if (before && warp == 0) {
            if (lane == 0) await(w.added + block, before);
            __syncwarp();
        }
        __syncthreads(); // p and ds are there, and so is the sum of dq so far
        float4 *sum = w.dq + (block * S::WARPS + warp) * (QT * QC / 8) * 32 + lane;
        float dq[QT][QC / 8][4];
        ll_zero(dq);
        if (before) // it comes while dv and dk are computed
#pragma unroll
            for (int i = 0; i < QT * QC / 8; i++) {
                const float4 x = __ldcg(sum + i * 32);
                float *y = dq[i / (QC / 8)][i % (QC / 8)];
                y[0] = x.x, y[1] = x.y, y[2] = x.z, y[3] = x.w;
            }
        if (kb + wk < q1 && q0 < whi1) {
            ll_product<BM>(
                dv, [&](auto &f, int r, int k) { ps.a(f, wk + r, k, lane); }, [&](auto &f, int n, int k) { os.b(f, k, wc + n, lane); });
            ll_product<BM>(
                dk, [&](auto &f, int r, int k) { ds.a(f, wk + r, k, lane); }, [&](auto &f, int n, int k) { qs.b(f, k, wc + n, lane); });
        }
        ll_product<BN>(
            dq, [&](auto &f, int r, int k) { ds.a_t(f, wq + r, k, lane); }, [&](auto &f, int n, int k) { ks.b(f, k, wqc + n, lane); });

        post = nullptr;
        if (!final) {
#pragma unroll
            for (int i = 0; i < QT * QC / 8; i++) {
                const float *y = dq[i / (QC / 8)][i % (QC / 8)];
                __stcg(sum + i * 32, make_float4(y[0], y[1], y[2], y[3]));
            }
            post = w.added + block, posted = before + 1;
        } else
#pragma unroll
            for (int e = 0; e < 2 * QT; e++) {
                const int row = m * BM + wq + e * 8 + g;
                uint32_t *out = (uint32_t *)((bf16 *)a.dq + row * qstride + h * d + wqc + t2);
                if (row < a.t)
#pragma unroll
                    for (int c = 0; c < QC / 8; c++)
                        if (EXACT || wqc + c * 8 + t2 < d)
                            out[c * 4] = ll_pack(dq[e / 2][c][e % 2 * 2] * a.scale, dq[e / 2][c][e % 2 * 2 + 1] * a.scale);
            }
        if (!more) break;
        h = nh, m = nm, last = nlast;
        if (STAGES == 1) {
            __syncthreads();
            fetch(0, h, m);
        }
    }
    __syncthreads();
    if (post && tid == 0) announce(post, posted);

#pragma unroll
    for (int e = 0; e < 2 * KT; e++) {
        const int key = wk + e * 8 + g;
        if (kb + key >= tq1) continue;
        const int64_t at = krow + key * kstride + wc + t2;
#pragma unroll
        for (int c = 0; c < DC / 8; c++) {
            if (!EXACT && wc + c * 8 + t2 >= d) continue;
            float2 *pk = (float2 *)(a.dk + at + c * 8), *pv = (float2 *)(a.dv + at + c * 8);
            const float2 x = *pk, y = *pv;
            *pk = make_float2(x.x + a.scale * dk[e / 2][c][e % 2 * 2], x.y + a.scale * dk[e / 2][c][e % 2 * 2 + 1]);
            *pv = make_float2(y.x + dv[e / 2][c][e % 2 * 2], y.y + dv[e / 2][c][e % 2 * 2 + 1]);
        }
    }
}

template <int C, int BM, int BN, int KT, int SPLIT, int STAGES, bool EXACT> int launch(cudaStream_t s, const ll_attn_args &a) {
    using S = shape<C, BM, BN, KT, SPLIT, STAGES, EXACT>;
    auto kernel = attn_bwd<C, BM, BN, KT, SPLIT, STAGES, EXACT>;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SMEM);
    if (e == cudaSuccess) e = cudaMemsetAsync(a.work, 0, cut(a, C).zeroed, s);
    if (e != cudaSuccess) return e;
    attn_delta<<<(unsigned)((a.t * a.h + 7) / 8), 256, 0, s>>>(a);
    if (a.fresh) {
        const int64_t row = (int64_t)a.hkv * a.d, at = (a.q0 - a.k0) * row;
        e = cudaMemsetAsync(a.dk + at, 0, a.t * row * sizeof(float), s);
        if (e == cudaSuccess) e = cudaMemsetAsync(a.dv + at, 0, a.t * row * sizeof(float), s);
        if (e != cudaSuccess) return e;
    }
    const int nmax = (int)((a.q0 + a.t - a.k0 + BN - 1) / BN); // blocks of keys, if the first is wanted from row 0 of k on
    kernel<<<nmax * a.hkv, S::THREADS, S::SMEM, s>>>(a, nmax);
    return cudaGetLastError();
}

int padded(int d) { return d <= 32 ? 32 : d <= 64 ? 64 : d <= 128 ? 128 : 256; }

} // namespace

size_t ll_attn_bwd_mma_work(const ll_attn_args *a) { return cut(*a, padded(a->d)).bytes; }

int ll_attn_bwd_mma(const ll_device *device, cudaStream_t s, const ll_attn_args *a) {
    const bool large = device->shared >= 163 * 1024; // 8.0 and 9.0; 8.6 and 8.9 have 99 KB
    switch (padded(a->d)) {
    case 32: return launch<32, 64, 128, 2, 2, 2, false>(s, *a);
    case 64:
        if (a->d < 64) return launch<64, 64, 128, 2, 2, 2, false>(s, *a);
        return large ? launch<64, 128, 128, 2, 2, 2, true>(s, *a) : launch<64, 64, 128, 2, 2, 2, true>(s, *a);
    case 128:
        if (a->d < 128)
            return large ? launch<128, 64, 128, 2, 2, 2, false>(s, *a) : launch<128, 32, 64, 2, 2, 2, false>(s, *a);
        return large ? launch<128, 64, 128, 2, 2, 2, true>(s, *a) : launch<128, 32, 64, 2, 2, 2, true>(s, *a);
    }
    return launch<256, 32, 32, 1, 2, 1, false>(s, *a);
}
