// Products of one row with matrices of weights: y = scale·W·x + c + bias, as generating has them. A matrix is read
// once, and how fast that goes is all that counts. A warp makes neighbouring elements of y, for each of which it reads
// a row of W from end to end in accesses of 16 bytes a lane, several of them under way; x comes from the cache. Sums
// are float32: a lane's in the order of its columns, then a butterfly over the lanes. The first accesses to a frozen W
// do not wait for what makes x.
#include "device.cuh"

namespace ll {

constexpr int ROW_WARPS = 8;
constexpr int ROWS = 2;  // of W, that a warp reads together
constexpr int AHEAD = 4; // accesses to each of them under way

__device__ __forceinline__ uint4 stream16(const uint4 *p) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return x;
}

// sum + the products of eight neighbours, in their order.
__device__ __forceinline__ float dot8(uint4 w, const float (&x)[GROUP], float sum) {
    const uint32_t u[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum = fmaf(__uint_as_float(u[i] << 16), x[2 * i], sum);
        sum = fmaf(__uint_as_float(u[i] & 0xffff0000), x[2 * i + 1], sum);
    }
    return sum;
}

__global__ void __launch_bounds__(ROW_WARPS *WARP, 4) row_kernel(const __grid_constant__ ll_row_args a) {
    ll_next();
    const int lane = threadIdx.x % WARP, groups = (int)(a.in / GROUP);
    int64_t row = ((int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / WARP) * ROWS;
    int n = 0;
    for (; n < a.n && row >= a.layer[n].out; n++) row -= (a.layer[n].out + ROWS - 1) / ROWS * ROWS;
    if (n == a.n) return; // some warps of the last block
    const ll_row_layer &y = a.layer[n];
    const uint4 *w[ROWS], *x = (const uint4 *)a.x;
    float sum[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        w[r] = (const uint4 *)y.w + (row + r < y.out ? row + r : row) * groups;
        sum[r] = 0;
    }
    uint4 v[AHEAD][ROWS];
    const auto fetch = [&](int at) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                v[i][r] = at + i * WARP < groups ? stream16(w[r] + at + i * WARP) : uint4{0, 0, 0, 0};
    };
    if (!a.frozen) ll_after();
    fetch(lane);
    if (a.frozen) ll_after();
    for (int at = lane; at < groups; at += WARP * AHEAD) {
        if (at != lane) fetch(at);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (at + i * WARP >= groups) break;
            Pack<bf16> p;
            float f[GROUP];
            p.w[0] = x[at + i * WARP];
#pragma unroll
            for (int e = 0; e < GROUP; e++) f[e] = to_float(p.e[e]);
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] = dot8(v[i][r], f, sum[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int m = WARP / 2; m; m /= 2) sum[r] += __shfl_xor_sync(~0u, sum[r], m);
        if (lane != r || row + r >= y.out) continue;
        float z = a.scale * sum[r];
        if (y.c) z += to_float(((const bf16 *)y.c)[row + r]);
        if (y.bias) z += to_float(((const bf16 *)y.bias)[row + r]);
        ((bf16 *)y.y)[row + r] = from_float<bf16>(z);
    }
}

} // namespace ll

extern "C" int ll_row(ll_device *d, ll_stream s, const ll_row_args *a) {
    using namespace ll;
    int64_t warps = 0;
    if (!aligned(a->in, a->x) || a->n < 0 || a->n > LL_ROW) return cudaErrorInvalidValue;
    for (int i = 0; i < a->n; i++) {
        if (!aligned(0, a->layer[i].w)) return cudaErrorInvalidValue;
        warps += ceil_div(a->layer[i].out, ROWS);
    }
    if (warps == 0) return cudaSuccess;
    return ll_launch_early(d, row_kernel, (unsigned)ceil_div(warps, ROW_WARPS), ROW_WARPS * WARP, (cudaStream_t)s, *a);
}
