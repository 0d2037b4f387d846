// What products with weights in FP8 want besides cuBLASLt: floats of 8 bits (e4m3fn) made wide, activations made narrow
// by rows, and blocks of a matrix turned round. See ops/cuda/fp8.go.
#include <cuda_fp8.h>

#include "device.cuh"

namespace ll {

constexpr float FP8_MOST = 448;       // the largest magnitude of e4m3fn
constexpr uint32_t INFINITE = 0x7f800000;
constexpr int ROW_THREADS = 256;      // a block narrows a row
constexpr int TILE = 64;              // bytes on either side of what a block turns round
constexpr int TURN_THREADS = 256;

__device__ __forceinline__ float fp8_to_float(uint8_t c) {
    __nv_fp8_e4m3 x;
    x.__x = c;
    return (float)x;
}

// dst (rows,cols) = src (rows, of ld bytes)·factor (rows)
template <bool VEC>
__global__ void __launch_bounds__(ROW_THREADS) fp8_widen_kernel(bf16 *dst, const uint8_t *src, const float *factor,
                                                                int64_t ld, int64_t cols) {
    const int64_t row = blockIdx.x;
    const float f = factor[row];
    src += row * ld, dst += row * cols;
    for (int64_t c = ((int64_t)blockIdx.y * ROW_THREADS + threadIdx.x) * GROUP; c < cols;
         c += (int64_t)gridDim.y * ROW_THREADS * GROUP) {
        __align__(8) uint8_t b[GROUP];
        float v[GROUP];
        if (VEC) *(uint2 *)b = *(const uint2 *)(src + c);
#pragma unroll
        for (int i = 0; i < GROUP; i++) v[i] = fp8_to_float(VEC ? b[i] : c + i < cols ? src[c + i] : 0) * f;
        store8<VEC>(dst + c, v, cols - c);
    }
}

struct MaxBits {
    __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a > b ? a : b; }
};

// 8 elements of a row, each times its column's factor.
template <bool VEC>
__device__ __forceinline__ void scaled8(float (&v)[GROUP], const bf16 *x, const float *factor, int64_t c,
                                        int64_t cols) {
    load8<VEC>(v, x + c, cols - c);
    if (!factor) return;
#pragma unroll
    for (int i = 0; i < GROUP; i++)
        if (VEC || c + i < cols) v[i] *= factor[c + i];
}

// Of each row of src (rows,cols), times factor (cols) where there is one: its scale, the largest magnitude over 448, 1
// for a row of zeros, and the floats of 8 bits nearest to its elements times 1/scale. A row with NaN or an infinity has
// the scale NaN, so that all products with it are. dst has rows of ld bytes.
template <bool VEC>
__global__ void __launch_bounds__(ROW_THREADS) fp8_narrow_kernel(uint8_t *dst, float *scale, const bf16 *src,
                                                                 const float *factor, int64_t cols) {
    __shared__ uint32_t shared[ROW_THREADS / WARP];
    const int64_t row = blockIdx.x;
    const bf16 *x = src + row * cols;
    uint32_t most = 0; // magnitudes compare as their bits do, NaN above all
    for (int64_t c = threadIdx.x * GROUP; c < cols; c += ROW_THREADS * GROUP) {
        float v[GROUP];
        scaled8<VEC>(v, x, factor, c, cols);
#pragma unroll
        for (int i = 0; i < GROUP; i++) most = max(most, __float_as_uint(v[i]) & 0x7fffffff);
    }
    most = block_reduce(most, MaxBits(), 0u, shared);
    const float s = most >= INFINITE ? CUDART_NAN_F
                    : most == 0      ? 1.0f
                                     : fmaxf(__fdiv_rn(__uint_as_float(most), FP8_MOST), 0x1p-126f);
    const float r = __fdiv_rn(1.0f, s);
    if (threadIdx.x == 0) scale[row] = s;
    for (int64_t c = threadIdx.x * GROUP; c < cols; c += ROW_THREADS * GROUP) {
        float v[GROUP];
        scaled8<VEC>(v, x, factor, c, cols);
        __align__(8) __nv_fp8x2_storage_t two[GROUP / 2];
#pragma unroll
        for (int i = 0; i < GROUP / 2; i++)
            two[i] = __nv_cvt_float2_to_fp8x2(make_float2(v[2 * i] * r, v[2 * i + 1] * r), __NV_SATFINITE, __NV_E4M3);
        if (VEC) *(uint2 *)(dst + row * cols + c) = *(const uint2 *)two;
        else
            for (int i = 0; i < GROUP && c + i < cols; i++) dst[row * cols + c + i] = two[i / 2] >> i % 2 * 8 & 0xff;
    }
}

// dst (cols,rows) is src (rows, of ld bytes) turned round; rows and cols are multiples of 4. ones (cols) becomes 1.
__global__ void __launch_bounds__(TURN_THREADS) fp8_turn_kernel(uint8_t *dst, float *ones, const uint8_t *src,
                                                                int64_t ld, int64_t rows, int64_t cols) {
    __shared__ uint8_t tile[TILE][TILE + 4];
    const int64_t r0 = (int64_t)blockIdx.y * TILE, c0 = (int64_t)blockIdx.x * TILE;
    for (int i = threadIdx.x; i < TILE * TILE / 4; i += TURN_THREADS) {
        const int r = i / (TILE / 4), c = i % (TILE / 4) * 4;
        if (r0 + r < rows && c0 + c < cols)
            *(uint32_t *)&tile[r][c] = *(const uint32_t *)(src + (r0 + r) * ld + c0 + c);
    }
    if (blockIdx.y == 0 && threadIdx.x < TILE && c0 + threadIdx.x < cols) ones[c0 + threadIdx.x] = 1;
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE / 4; i += TURN_THREADS) {
        const int c = i / (TILE / 4), r = i % (TILE / 4) * 4;
        if (c0 + c >= cols || r0 + r >= rows) continue;
        *(uint32_t *)(dst + (c0 + c) * rows + r0 + r) = tile[r][c] | tile[r + 1][c] << 8 | tile[r + 2][c] << 16 |
                                                        (uint32_t)tile[r + 3][c] << 24;
    }
}

} // namespace ll

extern "C" int ll_fp8_widen(ll_device *, ll_stream s, const ll_fp8_widen_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    const bool vec = aligned(a->cols, a->dst) && a->ld % GROUP == 0 && (uintptr_t)a->src % GROUP == 0;
    auto kernel = vec ? fp8_widen_kernel<true> : fp8_widen_kernel<false>;
    const int64_t blocks = ceil_div(a->cols, ROW_THREADS * GROUP);
    kernel<<<dim3((unsigned)a->rows, (unsigned)(blocks < 64 ? blocks : 64)), ROW_THREADS, 0, (cudaStream_t)s>>>(
        (bf16 *)a->dst, (const uint8_t *)a->src, a->factor, a->ld, a->cols);
    return launched();
}

extern "C" int ll_fp8_narrow(ll_device *, ll_stream s, const ll_fp8_narrow_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    auto kernel = aligned(a->cols, a->dst, a->src) ? fp8_narrow_kernel<true> : fp8_narrow_kernel<false>;
    kernel<<<(unsigned)a->rows, ROW_THREADS, 0, (cudaStream_t)s>>>((uint8_t *)a->dst, a->scale, (const bf16 *)a->src,
                                                                   a->factor, a->cols);
    return launched();
}

extern "C" int ll_fp8_turn(ll_device *, ll_stream s, const ll_fp8_turn_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    dim3 grid((unsigned)ceil_div(a->cols, TILE), (unsigned)ceil_div(a->rows, TILE));
    fp8_turn_kernel<<<grid, TURN_THREADS, 0, (cudaStream_t)s>>>((uint8_t *)a->dst, a->ones, (const uint8_t *)a->src,
                                                                a->ld, a->rows, a->cols);
    return launched();
}
