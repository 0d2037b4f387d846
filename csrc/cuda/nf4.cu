// Matrices in NF4 made wide: ops/cuda/nf4.go. Element e of the matrix, counted row-major, has a code of 4 bits, the
// high half of byte e/2 where e is even. Its value is table[code]·factor in float32, rounded to the type that the codes
// were made from and then to bf16; the factor is its block's absmax or, nested, nested_map[absmax]·nested_absmax +
// offset, product and sum each rounded. Half a byte is read and two are written an element.
#include <cuda_fp16.h>

#include "device.cuh"

namespace ll {

constexpr int NF4_THREADS = 256;

struct Nf4 {
    const uint8_t *codes;
    const float *table, *nested_map, *nested_absmax;
    const void *absmax;
    int64_t block, nested;   // nested: 0 where factors are float32
    int block_bits, nested_bits; // their logarithms, where they are powers of two
    float offset;
    int type;
};

// The factor of block b, of the n-th block of factors.
__device__ __forceinline__ float nf4_factor(const Nf4 &q, int64_t b, int64_t n) {
    if (!q.nested) return ((const float *)q.absmax)[b];
    const float x = q.nested_map[((const uint8_t *)q.absmax)[b]];
    return __fadd_rn(__fmul_rn(x, q.nested_absmax[n]), q.offset);
}

__device__ __forceinline__ float nf4_rounded(float v, int type) {
    return type == LL_F16 ? __half2float(__float2half_rn(v)) : v; // bf16 is what it is stored as
}

// dst (rows,cols) = columns [c0, c0+cols) of rows from row0 on of a matrix whose rows have ld elements. A thread makes
// 8 neighbours. VEC: they begin at a multiple of 8 elements, and blocks, being powers of two, hold them whole.
template <bool VEC>
__global__ void __launch_bounds__(NF4_THREADS) nf4_widen_kernel(bf16 *dst, Nf4 q, int64_t row0, int64_t c0, int64_t ld,
                                                                int64_t rows, int64_t cols) {
    __shared__ float table[16];
    if (threadIdx.x < 16) table[threadIdx.x] = q.table[threadIdx.x];
    __syncthreads();
    const int64_t c = ((int64_t)blockIdx.x * NF4_THREADS + threadIdx.x) * GROUP;
    if (c >= cols) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const int64_t e = (row0 + row) * ld + c0 + c;
        float x[GROUP];
        if (VEC) {
            const uint32_t codes = *(const uint32_t *)(q.codes + e / 2);
            const int64_t b = e >> q.block_bits;
            const float f = nf4_factor(q, b, b >> q.nested_bits);
#pragma unroll
            for (int i = 0; i < GROUP; i++) // the first of two is the high half
                x[i] = nf4_rounded(__fmul_rn(table[codes >> (i / 2 * 8 + (i % 2 ? 0 : 4)) & 15], f), q.type);
        } else {
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                x[i] = 0;
                if (c + i >= cols) continue;
                const uint8_t two = q.codes[(e + i) / 2];
                const int64_t b = (e + i) / q.block;
                const float f = nf4_factor(q, b, q.nested ? b / q.nested : 0);
                x[i] = nf4_rounded(__fmul_rn(table[(e + i) % 2 ? two & 15 : two >> 4], f), q.type);
            }
        }
        store8<VEC>(dst + row * cols + c, x, cols - c);
    }
}

// The logarithm of a power of two, -1 of another number.
static int nf4_bits(int64_t n) {
    int bits = 0;
    while (bits < 62 && (int64_t)1 << bits < n) bits++;
    return (int64_t)1 << bits == n ? bits : -1;
}

} // namespace ll

extern "C" int ll_nf4_widen(ll_device *, ll_stream s, const ll_nf4_widen_args *a) {
    using namespace ll;
    if (a->rows <= 0 || a->cols <= 0) return cudaSuccess;
    Nf4 q = {};
    q.codes = (const uint8_t *)a->codes, q.table = a->table, q.absmax = a->absmax;
    q.nested_map = a->nested_map, q.nested_absmax = a->nested_absmax, q.offset = a->offset, q.type = a->type;
    q.block = a->block, q.block_bits = nf4_bits(a->block);
    q.nested = a->nested, q.nested_bits = a->nested ? nf4_bits(a->nested) : 0;
    const bool vec = q.block_bits >= 3 && q.nested_bits >= 0 && a->ld % GROUP == 0 && a->c0 % GROUP == 0 &&
                     aligned(a->cols, a->dst) && (uintptr_t)a->codes % 4 == 0;
    const int64_t rows = a->rows < 65535 ? a->rows : 65535;
    dim3 grid((unsigned)ceil_div(a->cols, (int64_t)NF4_THREADS * GROUP), (unsigned)rows);
    auto kernel = vec ? nf4_widen_kernel<true> : nf4_widen_kernel<false>;
    kernel<<<grid, NF4_THREADS, 0, (cudaStream_t)s>>>((bf16 *)a->dst, q, a->row0, a->c0, a->ld, a->rows, a->cols);
    return launched();
}
