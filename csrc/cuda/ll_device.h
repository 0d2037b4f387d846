// What is kept of one device, for the whole library: there is no other state.
#ifndef LONGLORA_LL_DEVICE_H
#define LONGLORA_LL_DEVICE_H

#include <cuda.h>
#include <cuda_runtime.h>

#include "longlora.h"

struct ll_blas; // cuBLASLt and its plans: blas.cu
void ll_blas_close(ll_blas *b);

struct ll_device {
    int major, minor;    // compute capability
    int multiprocessors;
    int shared;          // bytes of shared memory that a block may ask for
    bool portable;       // use no kernels of Hopper's
    // Makes a tensor map: a function of the driver, found by the runtime so that nothing links against the driver. NULL
    // where the driver has none.
    decltype(&cuTensorMapEncodeTiled) encode;
    ll_blas *blas;       // NULL before it is open
    // Something else may hold multiprocessors while kernels begin, as NCCL's do that wait for another card.
    bool crowded;
    // Device memory, used where it is crowded: the next tile of Hopper's attention, 0 between its kernels, which are on
    // one stream.
    unsigned *ticket;

    bool hopper() const { return major == 9 && minor == 0 && !portable; }
};

// Kernels that begin early (programmatic dependent launch, compute capability 9.0): one that is launched by
// ll_launch_early may begin when each block of the kernel before it has called ll_next or is done, so that it is there
// when that one ends. It calls ll_after before it touches anything that another kernel writes or reads.
#ifdef __CUDACC__
static __device__ __forceinline__ void ll_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
static __device__ __forceinline__ void ll_after() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <class... P, class... A>
int ll_launch_early(const ll_device *d, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t s, const A &...args) {
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = grid, c.blockDim = block, c.stream = s;
    c.attrs = &early, c.numAttrs = d->major >= 9;
    return cudaLaunchKernelEx(&c, kernel, P(args)...);
}
#endif

#endif
