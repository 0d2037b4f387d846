// What the kernels between the products share: groups of eight elements, reductions over a block, launch status.
//
// A thread works on groups of 8 elements of a row or an array: 16 bytes of bf16, one access, when the row is aligned.
// Whether it is (width a multiple of 8, every pointer on 16 bytes) is known at the launch; otherwise the same kernel
// reads element by element. Everything is computed in float32 and rounded to nearest even where it is stored.
#ifndef LONGLORA_DEVICE_CUH
#define LONGLORA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math_constants.h>

#include "ll_device.h"

namespace ll {

using bf16 = __nv_bfloat16;
using f16 = __half;

constexpr int GROUP = 8; // elements of a group
constexpr int WARP = 32;

// Whether n elements a row and the pointers allow accesses of 16 bytes.
template <class... P> inline bool aligned(int64_t n, const P *...p) {
    return n % GROUP == 0 && ((((uintptr_t)p) % 16 == 0) && ...);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The status of the launches since the last call.
inline int launched() { return (int)cudaGetLastError(); }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 from_float<f16>(float x) { return __float2half_rn(x); }

// A group of 8 elements of T, as its 16-byte words.
template <class T> union Pack {
    T e[GROUP];
    uint4 w[sizeof(T) / 2];
    __device__ Pack() {}
};

// f = p[0..8). VEC: p is aligned, all eight exist. Otherwise the n (of 8 at most) that exist, then zeros.
template <bool VEC, class T> __device__ __forceinline__ void load8(float (&f)[GROUP], const T *p, int64_t n = GROUP) {
    if (VEC) {
        Pack<T> v;
#pragma unroll
        for (int i = 0; i < (int)(sizeof(T) / 2); i++) v.w[i] = ((const uint4 *)p)[i];
#pragma unroll
        for (int i = 0; i < GROUP; i++) f[i] = to_float(v.e[i]);
    } else {
#pragma unroll
        for (int i = 0; i < GROUP; i++) f[i] = i < n ? to_float(p[i]) : 0.0f;
    }
}

// p[0..8) = f, or the first n.
template <bool VEC, class T> __device__ __forceinline__ void store8(T *p, const float (&f)[GROUP], int64_t n = GROUP) {
    if (VEC) {
        Pack<T> v;
#pragma unroll
        for (int i = 0; i < GROUP; i++) v.e[i] = from_float<T>(f[i]);
#pragma unroll
        for (int i = 0; i < (int)(sizeof(T) / 2); i++) ((uint4 *)p)[i] = v.w[i];
    } else {
#pragma unroll
        for (int i = 0; i < GROUP; i++)
            if (i < n) p[i] = from_float<T>(f[i]);
    }
}

struct Add {
    template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct Max { // of numbers: a NaN loses
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// The reduction of v over the block by a commutative op, the same bits in every thread: a butterfly within each warp,
// then one over the warps' results. shared holds one T a warp; it may be used again when the function returns.
template <class T, class Op> __device__ T block_reduce(T v, Op op, T none, T *shared) {
#pragma unroll
    for (int m = WARP / 2; m; m /= 2) v = op(v, __shfl_xor_sync(~0u, v, m));
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    if (lane == 0) shared[warp] = v;
    __syncthreads();
    v = lane < warps ? shared[lane] : none;
#pragma unroll
    for (int m = WARP / 2; m; m /= 2) v = op(v, __shfl_xor_sync(~0u, v, m));
    __syncthreads();
    return v;
}

// ---- kernels over flat arrays ---------------------------------------------------------------------------

constexpr int FLAT_THREADS = 256; // one group a thread: loads of 8 blocks of a multiprocessor are in flight at once

// Runs f.run<VEC>(first element, elements) for one group.
template <class F> __global__ void __launch_bounds__(FLAT_THREADS) flat_kernel(F f, int64_t n, bool vec) {
    ll_next();
    int64_t i = ((int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x) * GROUP;
    if (i >= n) return;
    if (vec && n - i >= GROUP) f.template run<true>(i, GROUP);
    else f.template run<false>(i, n - i);
}

// Runs f over n elements; vec: its pointers are on 16 bytes.
template <class F> int flat(F f, int64_t n, bool vec, ll_stream s) {
    if (n <= 0) return cudaSuccess;
    flat_kernel<<<(unsigned)ceil_div(n, FLAT_THREADS * GROUP), FLAT_THREADS, 0, (cudaStream_t)s>>>(f, n, vec);
    return launched();
}

} // namespace ll

#endif
