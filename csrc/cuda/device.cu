// Memory and what else of the device the driver binding of the Go side lacks.
#include <cuda_runtime.h>
#include <dlfcn.h>

#include "longlora.h"

extern "C" const char *ll_status(int status) { return cudaGetErrorString((cudaError_t)status); }

extern "C" int ll_host_alloc(void **p, size_t bytes) { return cudaHostAlloc(p, bytes, cudaHostAllocPortable); }

extern "C" int ll_host_free(void *p) { return cudaFreeHost(p); }

extern "C" int ll_host_lock(void *p, size_t bytes) { return cudaHostRegister(p, bytes, cudaHostRegisterPortable); }

extern "C" int ll_host_unlock(void *p) { return cudaHostUnregister(p); }

// NVIDIA's management library counts a device's memory without a context on it. It comes with the driver.
namespace {
struct nvml_memory {
    unsigned long long total, free, used;
};
typedef int (*nvml_init_t)(void);
typedef int (*nvml_handle_t)(const char *bus, void **device);
typedef int (*nvml_memory_t)(void *device, nvml_memory *m);
}  // namespace

extern "C" int ll_memory_outside(int device, size_t *free, size_t *total) {
    static void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!lib) return cudaErrorNotSupported;
    nvml_init_t init = (nvml_init_t)dlsym(lib, "nvmlInit_v2");
    nvml_handle_t handle = (nvml_handle_t)dlsym(lib, "nvmlDeviceGetHandleByPciBusId_v2");
    nvml_memory_t memory = (nvml_memory_t)dlsym(lib, "nvmlDeviceGetMemoryInfo");
    char bus[32];
    void *h;
    nvml_memory m;
    if (!init || !handle || !memory || init() != 0) return cudaErrorNotSupported;
    cudaError_t e = cudaDeviceGetPCIBusId(bus, sizeof bus, device);
    if (e != cudaSuccess) return e;
    if (handle(bus, &h) != 0 || memory(h, &m) != 0) return cudaErrorNotSupported;
    *free = m.free;
    *total = m.total;
    return cudaSuccess;
}
