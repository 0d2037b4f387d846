// Segmented attention forward with mma.sync (FlashAttention-2, arXiv 2307.08691, alg. 1): one block computes BM
// queries of one head, walking over the keys from the first query's segment start in blocks of BN. Keys and values
// take turns: one is fetched while the other is multiplied.
#include <math_constants.h>

#include "mma.cuh"
#include "attn.cuh"

namespace {

// C: head size rounded up. EXACT: it is the head size. Each warp owns BM/WARPS queries.
template <int C, int BM, int BN, int WARPS, bool EXACT>
__global__ void __launch_bounds__(WARPS * 32) attn_fwd(const __grid_constant__ ll_attn_args a) {
    constexpr int MT = BM / WARPS / 16, THREADS = WARPS * 32;
    extern __shared__ __align__(128) char smem[];
    const ll_rows<C> qs{ll_smem(smem)}, ks{qs.base + BM * C * 2}, vs{ks.base + BN * C * 2};
    const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
    const int d = EXACT ? C : a.d, h = blockIdx.y, j = h / (a.h / a.hkv), shifted = ll_shifted(h, a.h);
    const int row0 = (gridDim.x - 1 - blockIdx.x) * BM; // the heavy blocks of full attention first
    const int q0 = (int)a.q0 + row0, q1 = (int)min(a.q0 + a.t, (int64_t)q0 + BM);
    const ll_range keys = ll_keys(a, q0, q1, shifted);
    const bool one = ll_lo(a, q1 - 1, shifted) == keys.lo; // one segment: causality is the only mask

    // this warp's queries [wq0, wq1) with their bounds, and this thread's rows
    const int wq0 = q0 + warp * MT * 16, wq1 = min(wq0 + MT * 16, q1);
    const bool idle = wq0 >= q1;
    const int wlo0 = one || idle ? keys.lo : ll_lo(a, wq0, shifted), wlo1 = one || idle ? keys.lo : ll_lo(a, wq1 - 1, shifted);
    int lo[MT][2];
#pragma unroll
    for (int i = 0; i < MT * 2; i++)
        lo[i / 2][i % 2] = one ? keys.lo : ll_lo(a, min(wq0 + i * 8 + lane / 4, q1 - 1), shifted);

    const int64_t qstride = (int64_t)a.h * d, kstride = (int64_t)a.hkv * d;
    const bf16 *k = (const bf16 *)a.k + (keys.lo - a.k0) * kstride + j * d;
    const bf16 *v = (const bf16 *)a.v + (keys.lo - a.k0) * kstride + j * d;
    ll_fill<BM, C, THREADS, EXACT>(qs, (const bf16 *)a.q + row0 * qstride + h * d, qstride, q1 - q0, d, tid);
    ll_fill<BN, C, THREADS, EXACT>(ks, k, kstride, q1 - keys.lo, d, tid);
    ll_cp_commit();

    const float sl2 = a.scale * 1.44269504088896340736f; // exp(scale·x) = 2^(sl2·x)
    float o[MT][C / 8][4], m[MT][2], l[MT][2];
    ll_zero(o);
#pragma unroll
    for (int i = 0; i < MT * 2; i++) m[i / 2][i % 2] = -CUDART_INF_F, l[i / 2][i % 2] = 0;

    for (int kb = keys.lo; kb < q1; kb += BN) {
        ll_cp_wait<0>();
        __syncthreads(); // the keys are here, and everyone has done with the values before
        ll_fill<BN, C, THREADS, EXACT>(vs, v, kstride, q1 - kb, d, tid);
        ll_cp_commit();
        const bool skip = idle || kb >= wq1 || kb + BN <= wlo0;

        float s[MT][BN / 8][4];
        if (!skip) {
            ll_zero(s);
            ll_product<C>(
                s, [&](auto &f, int r, int k) { qs.a(f, warp * MT * 16 + r, k, lane); },
                [&](auto &f, int n, int k) { ks.b_t(f, n, k, lane); });
        }
        ll_cp_wait<0>();
        __syncthreads(); // the values are here, and everyone has done with the keys
        if (kb + BN < q1) {
            k += BN * kstride;
            ll_fill<BN, C, THREADS, EXACT>(ks, k, kstride, q1 - kb - BN, d, tid);
            ll_cp_commit();
        }
        v += BN * kstride;
        if (skip) continue;

        if (ll_masked(wq0, kb, kb + BN, wlo1)) {
#pragma unroll
            for (int mt = 0; mt < MT; mt++)
#pragma unroll
                for (int n = 0; n < BN / 8; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        int q = wq0 + mt * 16 + e / 2 * 8 + lane / 4, key = kb + n * 8 + (lane & 3) * 2 + e % 2;
                        if (key > q || key < lo[mt][e / 2]) s[mt][n][e] = -CUDART_INF_F;
                    }
        }
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float top = m[mt][r];
#pragma unroll
                for (int n = 0; n < BN / 8; n++) top = fmaxf(top, fmaxf(s[mt][n][r * 2], s[mt][n][r * 2 + 1]));
                top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
                top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
                const float ref = top == -CUDART_INF_F ? 0 : top * sl2; // a row that sees nothing yet keeps sums of 0
                const float old = ll_exp2(m[mt][r] * sl2 - ref);
                float sum = 0;
#pragma unroll
                for (int n = 0; n < BN / 8; n++)
#pragma unroll
                    for (int e = r * 2; e < r * 2 + 2; e++) sum += s[mt][n][e] = ll_exp2(s[mt][n][e] * sl2 - ref);
                m[mt][r] = top;
                l[mt][r] = l[mt][r] * old + sum;
#pragma unroll
                for (int n = 0; n < C / 8; n++) o[mt][n][r * 2] *= old, o[mt][n][r * 2 + 1] *= old;
            }
        ll_product<BN>(
            o,
            [&](auto &f, int r, int k) {
#pragma unroll
                for (int e = 0; e < 4; e++) f[e] = ll_pack(s[r / 16][k / 8 + e / 2][e % 2 * 2], s[r / 16][k / 8 + e / 2][e % 2 * 2 + 1]);
            },
            [&](auto &f, int n, int k) { vs.b(f, k, n, lane); });
    }

    // a warp's rows of the queries are its own: they carry the results out in whole chunks
#pragma unroll
    for (int mt = 0; mt < MT; mt++) {
        float f[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float sum = l[mt][r];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            f[r] = 1 / sum;
            const int q = wq0 + mt * 16 + r * 8 + lane / 4;
            if ((lane & 3) == 0 && q < q1) a.lse[h * a.t + q - a.q0] = m[mt][r] * a.scale + logf(sum);
        }
#pragma unroll
        for (int n = 0; n < C / 8; n++)
            qs.put((warp * MT + mt) * 16, n * 8, o[mt][n][0] * f[0], o[mt][n][1] * f[0], o[mt][n][2] * f[1], o[mt][n][3] * f[1], lane);
    }
    __syncwarp();
    for (int i = lane; i < MT * 16 * C / 8; i += 32) {
        const int row = i / (C / 8), c = i % (C / 8);
        if (wq0 + row >= q1) break;
        bf16 *out = (bf16 *)a.o + (wq0 + row - a.q0) * qstride + h * d + c * 8;
        const uint4 x = *(const uint4 *)(smem + qs.at(warp * MT * 16 + row, c) - qs.base);
        if (EXACT || (d % 8 == 0 && c * 8 < d)) *(uint4 *)out = x;
        else if (d % 8) {
            const uint32_t w[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (c * 8 + e * 2 < d) ((uint32_t *)out)[e] = w[e];
        }
    }
}

template <int C, int BM, int BN, int WARPS, bool EXACT> int launch(cudaStream_t s, const ll_attn_args &a) {
    auto kernel = attn_fwd<C, BM, BN, WARPS, EXACT>;
    constexpr int bytes = (BM + 2 * BN) * C * 2;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e != cudaSuccess) return e;
    kernel<<<dim3((unsigned)((a.t + BM - 1) / BM), a.h), WARPS * 32, bytes, s>>>(a);
    return cudaGetLastError();
}

} // namespace

int ll_attn_fwd_mma(const ll_device *, cudaStream_t s, const ll_attn_args *a) {
    switch (a->d) {
    case 64: return launch<64, 128, 128, 4, true>(s, *a);
    case 128: return launch<128, 128, 64, 4, true>(s, *a);
    }
    if (a->d <= 32) return launch<32, 128, 64, 4, false>(s, *a);
    if (a->d <= 64) return launch<64, 128, 64, 4, false>(s, *a);
    if (a->d <= 128) return launch<128, 128, 64, 4, false>(s, *a);
    return launch<256, 64, 64, 4, false>(s, *a);
}
