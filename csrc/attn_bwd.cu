// Segmented attention backward with mma.sync (FlashAttention-2, arXiv 2307.08691, alg. 2): one block computes dk and
// dv of BN keys of one key/value head, walking over its query heads and over the queries that see the keys, in blocks
// of BM. Five products a pair of blocks.
//
// dq of a block of queries is summed by the blocks of keys that it sees, one after the other in descending order,
// without atomics, so the bits are always the same: work holds the sums and, for every sum, how many have added to it.
// The diagonal block of keys comes first, so that all blocks of keys walk abreast, each one step behind the block
// above it. Blocks take their keys in that order by a ticket, so whom one waits for is running or done. The last to
// add writes the result.
#include <math_constants.h>

#include "attn_mma.cuh"
#include "attn_tile.cuh"

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

// The workspace: a ticket, then one counter a warp of every block of queries, then their sums in the order of fragments.
struct work {
    int *ticket, *added;
    float4 *dq;
    size_t zeroed, bytes;
};

constexpr int COUNTER_ROWS = 8; // every kernel below has BM/WARPS = 8

__host__ __device__ inline work cut(const ll_attn_args &a, int c) {
    size_t rows = (size_t)(a.t + 63) / 64 * 64 * a.h, zeroed = (rows / COUNTER_ROWS * 4 + 256 + 255) / 256 * 256;
    char *p = (char *)a.work;
    return {(int *)p, (int *)(p + 256), (float4 *)(p + zeroed), zeroed, zeroed + rows * c * 4};
}

__device__ inline int acquire(const int *p) {
    int x;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
    return x;
}
__device__ inline void release(int *p, int x) { asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(p), "r"(x) : "memory"); }

// The blocks of queries of one head class that see the keys [k0, k1): first to last, empty when last < first. Those
// above prev see no keys before k0.
struct blocks {
    int first, last, prev;
};

template <int BM> __device__ inline blocks queries(const ll_attn_args &a, int k0, int k1, bool lowest, int shifted) {
    const int q0 = (int)a.q0;
    ll_range r = ll_queries(a, k0, k1, shifted);
    blocks b = {(r.lo - q0) / BM, r.hi <= r.lo ? -1 : (r.hi - 1 - q0) / BM, -1};
    if (!lowest) {
        int hi = min(ll_hi(a, k0 - 1, shifted), (int)(a.q0 + a.t));
        if (hi > q0) b.prev = (hi - 1 - q0) / BM;
    }
    return b;
}

// C: head size rounded up. EXACT: it is the head size. BN/16 warps side by side own the keys; SPLIT times as many
// share the columns of dk and dv.
template <int C, int BM, int BN, int SPLIT, bool EXACT> struct bwd {
    static constexpr int WARPS = BN / 16 * SPLIT, THREADS = WARPS * 32;
    static constexpr int TILE = BM * C * 2;                       // bytes of a block of q or dout
    static constexpr int QM = BM / 16, QN = WARPS / QM, QC = C / QN; // dq: QM warps down, QN across, of QC columns
    static constexpr int DC = C / SPLIT;                          // columns of dk and dv a warp
    static constexpr int SMEM = 2 * BN * C * 2 + 4 * TILE + BN * BM * 2 + 4 * BM * 4 + 16;
    static_assert(BM / WARPS == COUNTER_ROWS && QM * QN == WARPS && QC % 16 == 0, "");
};

template <int C, int BM, int BN, int SPLIT, bool EXACT>
__global__ void __launch_bounds__(bwd<C, BM, BN, SPLIT, EXACT>::THREADS) attn_bwd(const __grid_constant__ ll_attn_args a, int nmax) {
    using P = bwd<C, BM, BN, SPLIT, EXACT>;
    constexpr int THREADS = P::THREADS, DC = P::DC, QC = P::QC;
    extern __shared__ __align__(128) char smem[];
    const ll_rows<C> ks{ll_smem(smem)}, vs{ks.base + BN * C * 2};
    const uint32_t qbase = vs.base + BN * C * 2, dbase = qbase + 2 * P::TILE;
    const ll_rows<BM> ds{dbase + 2 * P::TILE}; // (BN,BM): dsᵀ
    char *dsmem = smem + 2 * BN * C * 2 + 4 * P::TILE;
    float *stats = (float *)(dsmem + BN * BM * 2); // [stage][lse, delta][BM]
    int *shared_ticket = (int *)(stats + 4 * BM);

    const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t2 = (lane & 3) * 2;
    const work w = cut(a, C);
    if (tid == 0) *shared_ticket = atomicAdd(w.ticket, 1);
    __syncthreads();
    const int ticket = *shared_ticket;
    const int d = EXACT ? C : a.d, r = a.h / a.hkv, j = ticket / nmax, n = nmax - 1 - ticket % nmax;
    const int tq0 = (int)a.q0, tq1 = (int)(a.q0 + a.t), nblocks = (int)((a.t + BM - 1) / BM);
    const int kfirst = ll_first_key(a, j), kb = kfirst + n * BN;
    if (kb >= tq1) return;

    blocks plain{0, -1, -1}, shift{0, -1, -1};
    if (!ll_shifted(j * r, a.h)) plain = queries<BM>(a, kb, kb + BN, n == 0, 0);
    if (ll_shifted(j * r + r - 1, a.h)) shift = queries<BM>(a, kb, kb + BN, n == 0, 1);

    const int64_t qstride = (int64_t)a.h * d, kstride = (int64_t)a.hkv * d, krow = (kb - a.k0) * kstride + j * d;
    auto fetch = [&](int stage, int h, int m) {
        const int64_t at = (int64_t)m * BM * qstride + h * d;
        const int rows = min(BM, (int)a.t - m * BM);
        ll_fill<BM, C, THREADS, EXACT>({qbase + stage * P::TILE}, (const bf16 *)a.q + at, qstride, rows, d, tid);
        ll_fill<BM, C, THREADS, EXACT>({dbase + stage * P::TILE}, (const bf16 *)a.dout + at, qstride, rows, d, tid);
        if (tid < 2 * BM) {
            const int i = tid % BM;
            float *to = stats + stage * 2 * BM + tid;
            if (i < rows) ll_cp4(ll_smem(to), (tid < BM ? a.lse : a.delta) + h * a.t + m * BM + i, true);
            else *to = tid < BM ? CUDART_INF_F : 0; // a row past the tile: p = exp(-inf) = 0
        }
        ll_cp_commit();
    };
    // the next block of queries of this or a later head
    int h = j * r - 1, m = 0, last = -1;
    auto advance = [&](int &h, int &m, int &last) {
        if (m < last) return m++, true;
        while (++h < j * r + r) {
            const blocks &b = ll_shifted(h, a.h) ? shift : plain;
            if (b.last >= b.first) return m = b.first, last = b.last, true;
        }
        return false;
    };
    if (!advance(h, m, last)) return;

    ll_fill<BN, C, THREADS, EXACT>(ks, (const bf16 *)a.k + krow, kstride, tq1 - kb, d, tid);
    ll_fill<BN, C, THREADS, EXACT>(vs, (const bf16 *)a.v + krow, kstride, tq1 - kb, d, tid);
    fetch(0, h, m);

    const int wk = warp % (BN / 16) * 16, wc = warp / (BN / 16) * DC; // this warp's keys, and its columns of dk and dv
    const int wq = warp % P::QM * 16, wqc = warp / P::QM * QC;        // its queries and columns of dq
    const float sl2 = a.scale * LOG2E;
    float dk[DC / 8][4], dv[DC / 8][4];
#pragma unroll
    for (int i = 0; i < DC / 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) dk[i][e] = dv[i][e] = 0;

    int cls = -1, hi[2] = {0, 0}, whi0 = 0, whi1 = 0; // of the class of h: hi of this thread's two keys, of the warp's first and last
    int *post = nullptr, posted = 0;                  // a sum written in the step before, whose counter is still to be raised
    for (int stage = 0;; stage ^= 1) {
        int nh = h, nm = m, nlast = last;
        const bool more = advance(nh, nm, nlast);
        ll_cp_wait<0>();
        __syncthreads(); // this step's queries are here, and everyone has done with the step before
        if (more) fetch(stage ^ 1, nh, nm);

        const ll_rows<C> qs{qbase + stage * P::TILE}, os{dbase + stage * P::TILE};
        const float *lse = stats + stage * 2 * BM, *delta = lse + BM;
        const int q0 = tq0 + m * BM, q1 = min(q0 + BM, tq1);
        if (ll_shifted(h, a.h) != cls) {
            cls = ll_shifted(h, a.h);
            hi[0] = ll_hi(a, kb + wk + g, cls), hi[1] = ll_hi(a, kb + wk + g + 8, cls);
            whi0 = ll_hi(a, kb + wk, cls), whi1 = ll_hi(a, min(kb + wk + 15, tq1 - 1), cls);
        }
        uint32_t df[BM / 16][4]; // dsᵀ of this warp's keys as A fragments
        const bool skip = kb + wk >= q1 || q0 >= whi1;
        if (!skip) {
            float s[BM / 8][4], dp[BM / 8][4];
#pragma unroll
            for (int i = 0; i < BM / 8; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[i][e] = dp[i][e] = 0;
#pragma unroll
            for (int kk = 0; kk < C; kk += 16) {
                uint32_t fa[4], fb[4];
                ks.a(fa, wk, kk, lane);
#pragma unroll
                for (int i = 0; i < BM; i += 16) {
                    qs.b_t(fb, i, kk, lane);
                    ll_mma(s[i / 8], fa, fb[0], fb[1]);
                    ll_mma(s[i / 8 + 1], fa, fb[2], fb[3]);
                }
            }
#pragma unroll
            for (int i = 0; i < BM / 8; i++) {
                const float2 x = *(const float2 *)(lse + i * 8 + t2);
#pragma unroll
                for (int e = 0; e < 4; e++) s[i][e] = ll_exp2(s[i][e] * sl2 - (e % 2 ? x.y : x.x) * LOG2E);
            }
            if (ll_masked(q0, kb + wk, kb + wk + 16, 0) || q1 > whi0) {
#pragma unroll
                for (int i = 0; i < BM / 8; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        const int q = q0 + i * 8 + t2 + e % 2;
                        if (q < kb + wk + g + e / 2 * 8 || q >= hi[e / 2]) s[i][e] = 0;
                    }
            }
#pragma unroll
            for (int kk = 0; kk < C; kk += 16) {
                uint32_t fa[4], fb[4];
                vs.a(fa, wk, kk, lane);
#pragma unroll
                for (int i = 0; i < BM; i += 16) {
                    os.b_t(fb, i, kk, lane);
                    ll_mma(dp[i / 8], fa, fb[0], fb[1]);
                    ll_mma(dp[i / 8 + 1], fa, fb[2], fb[3]);
                }
            }
#pragma unroll
            for (int i = 0; i < BM; i += 16) { // dv += pᵀ·dout
                uint32_t fa[4], fb[4];
#pragma unroll
                for (int e = 0; e < 4; e++) fa[e] = ll_pack(s[i / 8 + e / 2][e % 2 * 2], s[i / 8 + e / 2][e % 2 * 2 + 1]);
#pragma unroll
                for (int c = 0; c < DC; c += 16) {
                    os.b(fb, i, wc + c, lane);
                    ll_mma(dv[c / 8], fa, fb[0], fb[1]);
                    ll_mma(dv[c / 8 + 1], fa, fb[2], fb[3]);
                }
            }
#pragma unroll
            for (int i = 0; i < BM / 8; i++) {
                const float2 x = *(const float2 *)(delta + i * 8 + t2);
                df[i / 2][i % 2 * 2] = ll_pack(s[i][0] * (dp[i][0] - x.x), s[i][1] * (dp[i][1] - x.y));
                df[i / 2][i % 2 * 2 + 1] = ll_pack(s[i][2] * (dp[i][2] - x.x), s[i][3] * (dp[i][3] - x.y));
            }
        } else
#pragma unroll
            for (int i = 0; i < BM / 16; i++) df[i][0] = df[i][1] = df[i][2] = df[i][3] = 0;
        if (SPLIT == 1 || wc == 0) {
#pragma unroll
            for (int i = 0; i < BM / 8; i++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    *(uint32_t *)(dsmem + ds.at(wk + g + e * 8, i) - ds.base + t2 * 2) = df[i / 2][i % 2 * 2 + e];
        }

        // the sum of dq so far comes while dk is computed
        if (post) {
            __threadfence();
            __syncwarp();
            if (lane == 0) release(post, posted);
            post = nullptr;
        }
        const int before = (q1 - 1 - kfirst) / BN - n; // how many blocks of keys have added before
        const bool final = m > (cls ? shift : plain).prev;
        const int64_t block = ((int64_t)h * nblocks + m) * P::WARPS + warp;
        float4 *sum = w.dq + block * (QC / 8) * 32 + lane;
        float dq[QC / 8][4];
        if (before) {
            if (lane == 0)
                while (acquire(w.added + block) != before) {}
            __syncwarp();
#pragma unroll
            for (int c = 0; c < QC / 8; c++) {
                const float4 x = __ldcg(sum + c * 32);
                dq[c][0] = x.x, dq[c][1] = x.y, dq[c][2] = x.z, dq[c][3] = x.w;
            }
        } else
#pragma unroll
            for (int c = 0; c < QC / 8; c++) dq[c][0] = dq[c][1] = dq[c][2] = dq[c][3] = 0;

        if (!skip)
#pragma unroll
            for (int i = 0; i < BM; i += 16) { // dk += dsᵀ·q
                uint32_t fb[4];
#pragma unroll
                for (int c = 0; c < DC; c += 16) {
                    qs.b(fb, i, wc + c, lane);
                    ll_mma(dk[c / 8], df[i / 16], fb[0], fb[1]);
                    ll_mma(dk[c / 8 + 1], df[i / 16], fb[2], fb[3]);
                }
            }
        __syncthreads(); // all of dsᵀ is there
#pragma unroll
        for (int i = 0; i < BN; i += 16) { // dq += ds·k
            uint32_t fa[4], fb[4];
            ds.a_t(fa, wq, i, lane);
#pragma unroll
            for (int c = 0; c < QC; c += 16) {
                ks.b(fb, i, wqc + c, lane);
                ll_mma(dq[c / 8], fa, fb[0], fb[1]);
                ll_mma(dq[c / 8 + 1], fa, fb[2], fb[3]);
            }
        }
        if (!final) {
#pragma unroll
            for (int c = 0; c < QC / 8; c++) __stcg(sum + c * 32, make_float4(dq[c][0], dq[c][1], dq[c][2], dq[c][3]));
            post = w.added + block, posted = before + 1;
        } else
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int row = m * BM + wq + g + e * 8;
                uint32_t *out = (uint32_t *)((bf16 *)a.dq + row * qstride + h * d);
                if (row < a.t)
#pragma unroll
                    for (int c = 0; c < QC / 8; c++)
                        if (EXACT || wqc + c * 8 + t2 < d) out[(wqc + c * 8 + t2) / 2] = ll_pack(dq[c][e * 2] * a.scale, dq[c][e * 2 + 1] * a.scale);
            }
        if (!more) break;
        h = nh, m = nm, last = nlast;
    }
    if (post) {
        __threadfence();
        __syncwarp();
        if (lane == 0) release(post, posted);
    }

#pragma unroll
    for (int e = 0; e < 2; e++) {
        const int key = wk + g + e * 8;
        if (kb + key >= tq1) continue;
        const int64_t at = krow + key * kstride + wc + t2;
#pragma unroll
        for (int c = 0; c < DC / 8; c++) {
            if (!EXACT && wc + c * 8 + t2 >= d) continue;
            float2 *pk = (float2 *)(a.dk + at + c * 8), *pv = (float2 *)(a.dv + at + c * 8);
            float2 x = *pk, y = *pv;
            *pk = make_float2(x.x + a.scale * dk[c][e * 2], x.y + a.scale * dk[c][e * 2 + 1]);
            *pv = make_float2(y.x + dv[c][e * 2], y.y + dv[c][e * 2 + 1]);
        }
    }
}

template <int C, int BM, int BN, int SPLIT, bool EXACT> int launch(const ll_attn_args &a, cudaStream_t s) {
    using P = bwd<C, BM, BN, SPLIT, EXACT>;
    auto kernel = attn_bwd<C, BM, BN, SPLIT, EXACT>;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, P::SMEM);
    if (e != cudaSuccess) return e;
    const work w = cut(a, C);
    if ((e = cudaMemsetAsync(a.work, 0, w.zeroed, s)) != cudaSuccess) return e;
    attn_delta<<<(unsigned)((a.t * a.h + 7) / 8), 256, 0, s>>>(a);
    const int nmax = (int)((a.q0 + a.t - a.k0 + BN - 1) / BN); // blocks of keys, if the first is wanted from row 0 of k on
    kernel<<<nmax * a.hkv, P::THREADS, P::SMEM, s>>>(a, nmax);
    return cudaGetLastError();
}

int padded(int d) { return d <= 32 ? 32 : d <= 64 ? 64 : d <= 128 ? 128 : 256; }

} // namespace

size_t ll_attn_bwd_mma_work(const ll_attn_args *a) { return cut(*a, padded(a->d)).bytes; }

int ll_attn_bwd_mma(const ll_attn_args *a, cudaStream_t s) {
    int device, room;
    cudaError_t e = cudaGetDevice(&device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&room, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (e != cudaSuccess) return e;
    const bool large = room >= bwd<128, 64, 128, 1, true>::SMEM; // 8.6 and 8.9 have 99 KB
    switch (padded(a->d)) {
    case 32: return launch<32, 64, 128, 1, false>(*a, s);
    case 64: return a->d == 64 ? launch<64, 64, 128, 1, true>(*a, s) : launch<64, 64, 128, 1, false>(*a, s);
    case 128:
        if (a->d == 128) return large ? launch<128, 64, 128, 1, true>(*a, s) : launch<128, 32, 64, 1, true>(*a, s);
        return large ? launch<128, 64, 128, 1, false>(*a, s) : launch<128, 32, 64, 1, false>(*a, s);
    }
    return launch<256, 32, 32, 2, false>(*a, s);
}
