// What products with weights in FP8 want besides cuBLASLt: floats of 8 bits (e4m3fn) made wide, activations made narrow
// by rows, and blocks of a matrix turned round. See ops/cuda/fp8.go.
#include <cuda_fp8.h>

#include "swiglu.cuh"

namespace ll {

constexpr float FP8_MOST = 448;       // the largest magnitude of e4m3fn
constexpr uint32_t INFINITE = 0x7f800000;
constexpr int ROW_THREADS = 256;      // of a block that makes a row wide
constexpr int MOST_THREADS = 1024;    // of one that narrows a row
constexpr int GRAD_THREADS = 896;     // of one that narrows two
constexpr int ROW_GROUPS = 4;         // groups of a row that one of its threads holds
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

// A row's scale by its largest magnitude, given as bits: that over 448, and 1 for a row of zeros. A row with NaN or an
// infinity has the scale NaN, so that all products with it are.
__device__ __forceinline__ float fp8_scale(uint32_t most) {
    return most >= INFINITE ? CUDART_NAN_F
           : most == 0      ? 1.0f
                            : fmaxf(__fdiv_rn(__uint_as_float(most), FP8_MOST), 0x1p-126f);
}

__device__ __forceinline__ uint32_t magnitude(float x) { return __float_as_uint(x) & 0x7fffffff; } // NaN above all

// The floats of 8 bits nearest to a and b.
__device__ __forceinline__ uint32_t fp8_two(float a, float b) {
    return __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
}

// 8 elements of a row, each times its column's factor where there is one.
__device__ __forceinline__ void scaled8(float (&v)[GROUP], const Pack<bf16> &x, const float *factor) {
#pragma unroll
    for (int i = 0; i < GROUP; i++) v[i] = to_float(x.e[i]);
    if (!factor) return;
    float f[GROUP];
    load8<true>(f, factor);
#pragma unroll
    for (int i = 0; i < GROUP; i++) v[i] *= f[i];
}

// A row that a block holds in registers: group n of a thread is that of columns column(n) to column(n) + 8.
using Row = Pack<bf16>[ROW_GROUPS];

__device__ __forceinline__ int column(int n) { return (n * blockDim.x + threadIdx.x) * GROUP; }

// Group n of a row that is read once.
__device__ __forceinline__ void take8(float (&v)[GROUP], const bf16 *row, int n) {
    Pack<bf16> x;
    x.w[0] = __ldcs((const uint4 *)(row + column(n)));
#pragma unroll
    for (int i = 0; i < GROUP; i++) v[i] = to_float(x.e[i]);
}

__device__ __forceinline__ void keep8(Pack<bf16> &x, const float (&v)[GROUP]) {
#pragma unroll
    for (int i = 0; i < GROUP; i++) x.e[i] = from_float<bf16>(v[i]);
}

// Of a row (cols), times factor (cols) where there is one: its scale, and the floats of 8 bits nearest to its elements
// times 1/scale. They may take the row's place: nothing is written before all threads have what they read.
__device__ __forceinline__ void narrow_row(uint8_t *dst, float *scale, const Row &x, const float *factor,
                                           int cols) {
    __shared__ uint32_t shared[MOST_THREADS / WARP];
    uint32_t most = 0;
    float v[GROUP];
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
        if (column(n) >= cols) continue;
        scaled8(v, x[n], factor ? factor + column(n) : nullptr);
#pragma unroll
        for (int i = 0; i < GROUP; i++) most = max(most, magnitude(v[i]));
    }
    const float s = fp8_scale(block_reduce(most, MaxBits(), 0u, shared)), r = __fdiv_rn(1.0f, s);
    if (threadIdx.x == 0) *scale = s;
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
        if (column(n) >= cols) continue;
        scaled8(v, x[n], factor ? factor + column(n) : nullptr);
        *(uint2 *)(dst + column(n)) = make_uint2(fp8_two(v[0] * r, v[1] * r) | fp8_two(v[2] * r, v[3] * r) << 16,
                                                 fp8_two(v[4] * r, v[5] * r) | fp8_two(v[6] * r, v[7] * r) << 16);
    }
}

// Rows of src (rows,cols) become floats of 8 bits.
__global__ void __launch_bounds__(MOST_THREADS) fp8_narrow_kernel(uint8_t *dst, float *scale, const bf16 *src,
                                                                  const float *factor, int cols) {
    const int64_t row = blockIdx.x;
    Row x;
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++)
        if (column(n) < cols) x[n].w[0] = __ldcs((const uint4 *)(src + row * cols + column(n)));
    narrow_row(dst + row * cols, scale + row, x, factor, cols);
}

// Rows of h = g·σ(g)·u (rows,cols), rounded to bf16, become floats of 8 bits in rows of ld bytes, which may take the
// place of the row of g or u.
__global__ void __launch_bounds__(MOST_THREADS) fp8_swiglu_kernel(uint8_t *dst, float *scale, const bf16 *g,
                                                                  const bf16 *u, int64_t ld, int cols) {
    const int64_t row = blockIdx.x;
    Row h;
    float x[GROUP], y[GROUP];
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
        if (column(n) >= cols) continue;
        take8(x, g + row * cols, n);
        take8(y, u + row * cols, n);
        swiglu8(x, y);
        keep8(h[n], x);
    }
    narrow_row(dst + row * ld, scale + row, h, nullptr, cols);
}

// So do rows of its gradients, each times the factor of the columns, in the places of g and u.
__global__ void __launch_bounds__(GRAD_THREADS) fp8_swiglu_grad_kernel(bf16 *g, bf16 *u, float *sg, float *su,
                                                                       const bf16 *dh, const float *fg,
                                                                       const float *fu, int cols) {
    const int64_t row = blockIdx.x;
    g += row * cols, u += row * cols, dh += row * cols;
    Row dg, du;
    float x[GROUP], y[GROUP], d[GROUP];
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
        if (column(n) >= cols) continue;
        take8(x, g, n);
        take8(y, u, n);
        take8(d, dh, n);
        swiglu_grad8(x, y, d);
        keep8(dg[n], y);
        keep8(du[n], x);
    }
    narrow_row((uint8_t *)g, sg + row, dg, fg, cols);
    narrow_row((uint8_t *)u, su + row, du, fu, cols);
}

// The same for rows of any width and alignment, which are read twice.
__global__ void fp8_narrow_any_kernel(uint8_t *dst, float *scale, const bf16 *src, const float *factor, int64_t cols) {
    __shared__ uint32_t shared[MOST_THREADS / WARP];
    const int64_t row = blockIdx.x;
    src += row * cols, dst += row * cols;
    uint32_t most = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
        most = max(most, magnitude(to_float(src[c]) * (factor ? factor[c] : 1.0f)));
    const float s = fp8_scale(block_reduce(most, MaxBits(), 0u, shared)), r = __fdiv_rn(1.0f, s);
    if (threadIdx.x == 0) scale[row] = s;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
        dst[c] = fp8_two(to_float(src[c]) * (factor ? factor[c] : 1.0f) * r, 0) & 0xff;
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

// How many threads hold a row; 0 where a block has not as many.
static int threads(int64_t cols) {
    const int64_t n = ceil_div(cols, ROW_GROUPS * GROUP * WARP) * WARP;
    return n <= MOST_THREADS ? (int)n : 0;
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
    const int threads = ll::threads(a->cols);
    const bool whole = threads && aligned(a->cols, a->dst, a->src, a->factor);
    if (whole)
        fp8_narrow_kernel<<<(unsigned)a->rows, threads, 0, (cudaStream_t)s>>>(
            (uint8_t *)a->dst, a->scale, (const bf16 *)a->src, a->factor, (int)a->cols);
    else
        fp8_narrow_any_kernel<<<(unsigned)a->rows, ROW_THREADS, 0, (cudaStream_t)s>>>(
            (uint8_t *)a->dst, a->scale, (const bf16 *)a->src, a->factor, a->cols);
    return launched();
}

extern "C" int ll_fp8_swiglu(ll_device *, ll_stream s, const ll_fp8_swiglu_args *a) {
    using namespace ll;
    const int n = threads(a->cols);
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    if (!n || !aligned(a->cols, a->g, a->u, a->dst) || a->ld % GROUP) return cudaErrorInvalidValue;
    fp8_swiglu_kernel<<<(unsigned)a->rows, n, 0, (cudaStream_t)s>>>((uint8_t *)a->dst, a->scale, (const bf16 *)a->g,
                                                                    (const bf16 *)a->u, a->ld, (int)a->cols);
    return launched();
}

extern "C" int ll_fp8_swiglu_grad(ll_device *, ll_stream s, const ll_fp8_swiglu_grad_args *a) {
    using namespace ll;
    const int n = threads(a->cols);
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    if (!n || n > GRAD_THREADS || !aligned(a->cols, a->g, a->u, a->dh, a->fg, a->fu)) return cudaErrorInvalidValue;
    fp8_swiglu_grad_kernel<<<(unsigned)a->rows, n, 0, (cudaStream_t)s>>>(
        (bf16 *)a->g, (bf16 *)a->u, a->sg, a->su, (const bf16 *)a->dh, a->fg, a->fu, (int)a->cols);
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
