// Segmented causal attention for Hopper, forward (FlashAttention-2, arXiv 2307.08691, alg. 1; with a producer
// and overlapped softmax as in FlashAttention-3, arXiv 2407.08608, sec. 3). A block walks over tiles of 128
// queries of one head. One thread copies Q, K and V to shared memory; two warpgroups of 64 queries each compute.
// Keys are walked from the segment start of the tile's first query, so nothing before it is read.
#include "attn_sm90.cuh"

namespace {

using namespace sm90;

template <int D, int BN, int STAGES, int QSTAGES> struct Shared {
    static constexpr int Q = BM * D * 2, KV = BN * D * 2; // bytes
    static constexpr int q = 0, k = QSTAGES * Q, v = k + STAGES * KV, bars = v + STAGES * KV;
    static constexpr int bytes = bars + 8 * (2 * QSTAGES + 4 * STAGES) + 1024; // the base is aligned by hand
};

template <int D, int BN, int STAGES, int QSTAGES>
__global__ void __launch_bounds__(THREADS, 1)
    attn_fwd(const __grid_constant__ CUtensorMap qmap, const __grid_constant__ CUtensorMap kmap,
             const __grid_constant__ CUtensorMap vmap, const __grid_constant__ ll_attn_args a) {
    using L = Shared<D, BN, STAGES, QSTAGES>;
    extern __shared__ char raw[];
    const uint32_t base = (shared_address(raw) + 1023) & ~1023u;
    const uint32_t qs = base + L::q, ks = base + L::k, vs = base + L::v;
    const uint32_t q_full = base + L::bars, q_empty = q_full + 8 * QSTAGES, k_full = q_empty + 8 * QSTAGES;
    const uint32_t k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES;
    if (threadIdx.x == 0) {
        bars_init<QSTAGES>(q_full, q_empty, 1, WARPS);
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
            float o[D / 2], s[BN / 2], m0 = -INFINITY, m1 = -INFINITY, l0 = 0, l1 = 0, f0, f1;
            uint32_t pb[BN / 4];
#pragma unroll
            for (int i = 0; i < D / 2; i++) o[i] = 0;

            // A block of keys that only the other warpgroup sees.
            auto skip = [&] {
                bar_wait(k_full + 8 * kr.slot, kr.parity);
                release(k_empty + 8 * kr.slot);
                kr.next();
                bar_wait(v_full + 8 * vr.slot, vr.parity);
                release(v_empty + 8 * vr.slot);
                vr.next();
            };
            // Scores of the keys from token `key` on to probabilities under the new maximum m, their sums added to
            // l. What was summed under the old maximum is to be multiplied by f.
            auto softmax = [&](int key) {
                rows.mask(s, key, col);
                float n0 = m0, n1 = m1;
#pragma unroll
                for (int i = 0; i < BN / 2; i += 4) {
                    n0 = fmaxf(n0, fmaxf(s[i], s[i + 1]));
                    n1 = fmaxf(n1, fmaxf(s[i + 2], s[i + 3]));
                }
                n0 = quad_max(n0);
                n1 = quad_max(n1);
                const float z0 = n0 == -INFINITY ? 0 : n0 * c, z1 = n1 == -INFINITY ? 0 : n1 * c;
                f0 = exp2_fast(m0 * c - z0);
                f1 = exp2_fast(m1 * c - z1);
                m0 = n0;
                m1 = n1;
                float t0 = 0, t1 = 0;
#pragma unroll
                for (int i = 0; i < BN / 2; i += 4) {
                    t0 += s[i] = exp2_fast(fmaf(s[i], c, -z0));
                    t0 += s[i + 1] = exp2_fast(fmaf(s[i + 1], c, -z0));
                    t1 += s[i + 2] = exp2_fast(fmaf(s[i + 2], c, -z1));
                    t1 += s[i + 3] = exp2_fast(fmaf(s[i + 3], c, -z1));
                }
                l0 = l0 * f0 + t0;
                l1 = l1 * f1 + t1;
            };
            auto scale = [&](float x0, float x1) {
#pragma unroll
                for (int i = 0; i < D / 2; i++) o[i] *= i % 4 < 2 ? x0 : x1;
            };

            int j = 0;
            for (; j < rows.begin; j += BN) skip();
            const uint32_t q = qs + qr.slot * L::Q + wg * 64 * 128;
            bar_wait(q_full + 8 * qr.slot, qr.parity);
            bar_wait(k_full + 8 * kr.slot, kr.parity);
            mma_rows<D>(s, q, BM * 128, ks + kr.slot * L::KV, BN * 128);
            mma_wait<0>();
            settle(s);
            release(k_empty + 8 * kr.slot);
            kr.next();
            softmax(t.lo + j);
            pack(pb, s);
            // The next block's scores are made, and turned into probabilities, while the last block's values are added.
            for (j += BN; j < rows.end; j += BN) {
                bar_wait(k_full + 8 * kr.slot, kr.parity);
                mma_rows<D>(s, q, BM * 128, ks + kr.slot * L::KV, BN * 128);
                bar_wait(v_full + 8 * vr.slot, vr.parity);
                mma_cols<BN>(o, pb, vs + vr.slot * L::KV, BN * 128);
                mma_wait<1>();
                settle(s);
                release(k_empty + 8 * kr.slot);
                kr.next();
                softmax(t.lo + j);
                mma_wait<0>();
                settle(o);
                settle(pb);
                release(v_empty + 8 * vr.slot);
                vr.next();
                scale(f0, f1);
                pack(pb, s);
            }
            release(q_empty + 8 * qr.slot);
            qr.next();
            bar_wait(v_full + 8 * vr.slot, vr.parity);
            mma_cols<BN>(o, pb, vs + vr.slot * L::KV, BN * 128);
            l0 = quad_sum(l0);
            l1 = quad_sum(l1);
            mma_wait<0>();
            settle(o);
            settle(pb);
            release(v_empty + 8 * vr.slot);
            vr.next();
            for (; j < t.keys; j += BN) skip();

            scale(__fdividef(1, l0), __fdividef(1, l1));
            const int i = t.i0 + row, left = int(a.t) - i; // rows left in the tile
            __nv_bfloat16 *const out = static_cast<__nv_bfloat16 *>(a.o) + (int64_t(i) * a.h + t.head) * D;
            store_rows<D>(left > 0 ? out : nullptr, left > 8 ? out + int64_t(8) * a.h * D : nullptr, o);
            float *const lse = a.lse + int64_t(t.head) * a.t + i;
            if (lane % 4 == 0 && left > 0) lse[0] = m0 * a.scale + logf(l0);
            if (lane % 4 == 0 && left > 8) lse[8] = m1 * a.scale + logf(l1);
        }
    }
}

template <int D, int BN, int STAGES, int QSTAGES> int forward(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    CUtensorMap q, k, v;
    const int64_t end = a->q0 + a->t - a->k0; // rows after the last query's are never keys
    int r = tensor_map(device, &q, a->q, a->t, a->h, D, BM);
    if (!r) r = tensor_map(device, &k, a->k, end, a->hkv, D, BN);
    if (!r) r = tensor_map(device, &v, a->v, end, a->hkv, D, BN);
    if (r) return r;
    return launch(attn_fwd<D, BN, STAGES, QSTAGES>, device, (a->t + BM - 1) / BM * a->h,
                  Shared<D, BN, STAGES, QSTAGES>::bytes, stream, q, k, v, *a);
}

} // namespace

int ll_attn_fwd_sm90(const ll_device *device, cudaStream_t stream, const ll_attn_args *a) {
    if (a->d == 128) return forward<128, 128, 2, 2>(device, stream, a);
    if (a->d == 64) return forward<64, 128, 4, 2>(device, stream, a);
    return cudaErrorInvalidValue;
}
