// The arithmetic of SwiGLU on a group of 8 elements, which fp8.cu needs too.
#ifndef LONGLORA_SWIGLU_CUH
#define LONGLORA_SWIGLU_CUH

#include "device.cuh"
#include "sigmoid.cuh"

namespace ll {

// x, which is g, becomes h = g·σ(g)·u; y is u.
__device__ __forceinline__ void swiglu8(float (&x)[GROUP], const float (&y)[GROUP]) {
#pragma unroll
    for (int k = 0; k < GROUP; k++) x[k] *= ll_sigmoid(x[k]) * y[k];
}

// x, which is g, becomes du = dh·g·σ, and y, which is u, dg = dh·u·σ·(1+g·(1-σ)); d is dh.
__device__ __forceinline__ void swiglu_grad8(float (&x)[GROUP], float (&y)[GROUP], const float (&d)[GROUP]) {
#pragma unroll
    for (int k = 0; k < GROUP; k++) {
        float s = ll_sigmoid(x[k]), ds = d[k] * s;
        y[k] *= ds * (1.0f + x[k] * (1.0f - s));
        x[k] *= ds;
    }
}

} // namespace ll

#endif
