// How the norms go over rows of C elements: a block takes a row whole, N groups a thread, which stay in registers
// between the sums over the row and their use, so that each element is read once. Blocks hold up to 1024 threads: N = 1
// is enough for widths of up to 8192, 2 for 16384; 4, which spills, goes to 32768, beyond any model.
#ifndef LONGLORA_NORM_CUH
#define LONGLORA_NORM_CUH

#include <type_traits>

#include "parts.cuh"

namespace ll {

constexpr int NORM_THREADS = 1024;
// Blocks whose partial sums of dw are added up at the end, and no more than this.
constexpr int NORM_PARTS = 512;

// Of t rows, one a block at a time: two blocks on each multiprocessor.
inline int64_t norm_parts(const ll_device *d, int64_t t) {
    const int64_t parts = 2 * d->multiprocessors < NORM_PARTS ? 2 * d->multiprocessors : NORM_PARTS;
    return t < parts ? t : parts;
}

// Threads of a block for rows of c elements, each with N groups.
inline int norm_threads(int64_t c, int n) { return (int)(ceil_div(ceil_div(c, GROUP), (int64_t)n * WARP) * WARP); }

// Calls f with the number of groups that a thread must hold for rows of c.
template <class F> int norm_width(int64_t c, F f) {
    const int64_t n = ceil_div(c, NORM_THREADS * GROUP);
    if (n <= 1) return f(std::integral_constant<int, 1>());
    if (n <= 2) return f(std::integral_constant<int, 2>());
    if (n <= 4) return f(std::integral_constant<int, 4>());
    return cudaErrorInvalidValue;
}

// A thread's groups of a row of c elements that begins at p; zeros past its end.
template <bool VEC, int N, class T>
__device__ __forceinline__ void load_groups(float (&v)[N][GROUP], const T *p, int c) {
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = (threadIdx.x + k * blockDim.x) * GROUP;
        if (i < c) load8<VEC>(v[k], p + i, c - i);
        else load8<false>(v[k], p, 0);
    }
}

// Writes them.
template <bool VEC, int N, class T>
__device__ __forceinline__ void store_groups(T *p, const float (&v)[N][GROUP], int c) {
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int i = (threadIdx.x + k * blockDim.x) * GROUP;
        if (i < c) store8<VEC>(p + i, v[k], c - i);
    }
}

} // namespace ll

#endif
