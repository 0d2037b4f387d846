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

    bool hopper() const { return major == 9 && minor == 0 && !portable; }
};

#endif
