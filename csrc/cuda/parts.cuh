// Sums over many rows are made in two passes, so that the bits are always the same: each block adds up every
// gridDim-th row into a row of its own, a part, and the parts are then added up in a fixed order.
#ifndef LONGLORA_PARTS_CUH
#define LONGLORA_PARTS_CUH

#include "device.cuh"

namespace ll {

constexpr int DW_COLS = 32, DW_ROWS = 32; // a block adds up 32 columns: thread (i,j) the parts j, j+32, …

// dw[c] += Σ part[b][c], b in a fixed order.
static __global__ void __launch_bounds__(DW_COLS *DW_ROWS)
add_parts_kernel(float *dw, const float *part, int parts, int c) {
    __shared__ float shared[DW_ROWS][DW_COLS];
    int i = blockIdx.x * DW_COLS + threadIdx.x;
    float s = 0;
    if (i < c)
        for (int b = threadIdx.y; b < parts; b += DW_ROWS) s += part[(int64_t)b * c + i];
    shared[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y || i >= c) return;
    for (int j = 1; j < DW_ROWS; j++) s += shared[j][threadIdx.x];
    dw[i] += s;
}

// dw (C) += the sum of parts (parts,C).
inline int add_parts(float *dw, const float *part, int64_t parts, int64_t c, ll_stream s) {
    const unsigned blocks = (unsigned)ceil_div(c, DW_COLS);
    add_parts_kernel<<<blocks, dim3(DW_COLS, DW_ROWS), 0, (cudaStream_t)s>>>(dw, part, (int)parts, (int)c);
    return launched();
}

} // namespace ll

#endif
