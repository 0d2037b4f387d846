// The device's handle, and memory that the driver binding of the Go side lacks.
#include <dlfcn.h>
#include <string.h>

#include "ll_device.h"

extern "C" const char *ll_status(int status) { return cudaGetErrorString((cudaError_t)status); }

extern "C" int ll_device_open(ll_device **out) {
    ll_device d = {};
    int index;
    cudaError_t e = cudaGetDevice(&index);
    const struct {
        int *to;
        cudaDeviceAttr what;
    } attributes[] = {{&d.major, cudaDevAttrComputeCapabilityMajor},
                      {&d.minor, cudaDevAttrComputeCapabilityMinor},
                      {&d.multiprocessors, cudaDevAttrMultiProcessorCount},
                      {&d.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin}};
    for (auto a : attributes)
        if (e == cudaSuccess) e = cudaDeviceGetAttribute(a.to, a.what, index);
    if (e != cudaSuccess) return e;
    void *encode = nullptr;
    cudaDriverEntryPointQueryResult found;
    e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
    if (e == cudaSuccess && found == cudaDriverEntryPointSuccess) d.encode = (decltype(d.encode))encode;
    else (void)cudaGetLastError(); // it is missed where it is wanted
    e = cudaMalloc(&d.ticket, sizeof *d.ticket);
    if (e == cudaSuccess) e = cudaMemset(d.ticket, 0, sizeof *d.ticket);
    if (e == cudaSuccess) *out = new ll_device(d);
    else cudaFree(d.ticket);
    return e;
}

extern "C" void ll_device_close(ll_device *d) {
    if (!d) return;
    if (d->blas) ll_blas_close(d->blas);
    cudaFree(d->ticket);
    delete d;
}

extern "C" void ll_device_portable(ll_device *d, int yes) { d->portable = yes; }

extern "C" void ll_device_crowded(ll_device *d, int yes) { d->crowded = yes; }

extern "C" int ll_host_alloc(void **p, size_t bytes) { return cudaHostAlloc(p, bytes, cudaHostAllocPortable); }

extern "C" int ll_host_free(void *p) { return cudaFreeHost(p); }

extern "C" int ll_host_lock(void *p, size_t bytes) {
    return cudaHostRegister(p, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
}

extern "C" int ll_host_unlock(void *p) { return cudaHostUnregister(p); }

namespace {

// NVIDIA's management library counts a device's memory without a context on it. It comes with the driver.
struct nvml {
    struct memory {
        unsigned long long total, free, used;
    };
    int (*init)(void);
    int (*shutdown)(void);
    int (*handle)(const char *bus, void **device);
    int (*info)(void *device, memory *m);

    bool open(void *lib) {
        *(void **)&init = dlsym(lib, "nvmlInit_v2");
        *(void **)&shutdown = dlsym(lib, "nvmlShutdown");
        *(void **)&handle = dlsym(lib, "nvmlDeviceGetHandleByPciBusId_v2");
        *(void **)&info = dlsym(lib, "nvmlDeviceGetMemoryInfo");
        return init && shutdown && handle && info && init() == 0;
    }
};

} // namespace

extern "C" int ll_uuid(int index, unsigned char uuid[16]) {
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, index);
    if (e == cudaSuccess) memcpy(uuid, p.uuid.bytes, 16);
    return e;
}

extern "C" int ll_memory_outside(int index, size_t *free, size_t *total) {
    char bus[32];
    cudaError_t e = cudaDeviceGetPCIBusId(bus, sizeof bus, index);
    if (e != cudaSuccess) return e;
    void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!lib) return cudaErrorNotSupported;
    nvml n;
    int r = cudaErrorNotSupported;
    if (n.open(lib)) {
        void *device;
        nvml::memory m;
        if (n.handle(bus, &device) == 0 && n.info(device, &m) == 0) {
            *free = m.free;
            *total = m.total;
            r = cudaSuccess;
        }
        n.shutdown();
    }
    dlclose(lib);
    return r;
}
