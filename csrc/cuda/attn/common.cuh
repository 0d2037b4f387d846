// What both sets of attention kernels are built of: numbers, and the hand-over of a sum from block to block.
#ifndef LONGLORA_ATTN_COMMON_CUH
#define LONGLORA_ATTN_COMMON_CUH

#include <cuda_bf16.h>
#include <math_constants.h>

#include "../ll_device.h"

typedef __nv_bfloat16 bf16;

constexpr float LOG2E = 1.4426950408889634f; // exp(x) = 2^(x·LOG2E)

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Two numbers rounded to bf16, x in the lower half.
static __device__ __forceinline__ uint32_t ll_pack(float x, float y) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(y), "f"(x));
    return r;
}

// 2^x; 0 for minus infinity. The result has 22 good bits.
static __device__ __forceinline__ float ll_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// The greatest, and the sum, over the four lanes that hold one row of a product's result.
static __device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
static __device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// The order in which thread blocks add to one sum in global memory, so that its bits are always the same: the counter
// says how many have added to it. Whoever waits must know that those before it are running or done.
struct Turn {
    int *added;

    // Waits until n have added; what they had seen and done, this thread then sees.
    __device__ __forceinline__ void await(int n) const {
        int y;
        do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(y) : "l"(added) : "memory");
        while (y != n);
    }
    // Says that n have, this thread's block the last.
    __device__ __forceinline__ void announce(int n) const {
        asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(added), "r"(n) : "memory");
    }
};

#endif
