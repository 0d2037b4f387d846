// Memory that other processes of the machine read: copies between cards by which no process waits for another.
#include <cuda_runtime.h>
#include <string.h>

#include "longlora.h"

extern "C" int ll_can_read(int index, int other, int *yes) { return cudaDeviceCanAccessPeer(yes, index, other); }

extern "C" int ll_export(void *p, char where[LL_EXPORTED]) {
    cudaIpcMemHandle_t h;
    static_assert(sizeof h == LL_EXPORTED, "a handle's size");
    cudaError_t e = cudaIpcGetMemHandle(&h, p);
    memcpy(where, &h, sizeof h);
    return e;
}

extern "C" int ll_import(const char where[LL_EXPORTED], void **p) {
    cudaIpcMemHandle_t h;
    memcpy(&h, where, sizeof h);
    return cudaIpcOpenMemHandle(p, h, cudaIpcMemLazyEnablePeerAccess);
}

extern "C" int ll_unimport(void *p) { return cudaIpcCloseMemHandle(p); }
