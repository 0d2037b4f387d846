// Chooses the attention kernels: those for Hopper where the device is one and the head size suits, else the portable ones.
#include "attn.cuh"

namespace {

int check(const ll_attn_args *a) {
    if (a->d < 2 || a->d > 256 || a->d % 2 || a->mode == LL_ROLL) return cudaErrorNotSupported;
    if (a->h < 1 || a->hkv < 1 || a->h % a->hkv || a->t < 0 || a->w < a->q0 + a->t - a->k0 || a->q0 + a->t > INT32_MAX)
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

bool portable = false;

bool shape_sm90(const ll_attn_args *a) { return a->d == 64 || a->d == 128; }

int is_sm90(bool *yes) {
    int device, major, minor;
    cudaError_t e = cudaGetDevice(&device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    *yes = !portable && e == cudaSuccess && major == 9 && minor == 0;
    return e;
}

} // namespace

extern "C" void ll_attn_portable(int yes) { portable = yes; }

// The same for every device, so that a plan can be made without one.
extern "C" size_t ll_attn_work(const ll_attn_args *a, int backward) {
    if (!backward) return 0;
    const size_t n = ll_attn_bwd_mma_work(a), m = shape_sm90(a) ? ll_attn_bwd_sm90_work(a) : 0;
    return n > m ? n : m;
}

extern "C" int ll_attn_fwd_cuda(const ll_attn_args *a, ll_stream s) {
    bool sm90;
    int e = check(a);
    if (!e) e = is_sm90(&sm90);
    if (e || a->t == 0) return e;
    return (sm90 && shape_sm90(a) ? ll_attn_fwd_sm90 : ll_attn_fwd_mma)(a, (cudaStream_t)s);
}

extern "C" int ll_attn_bwd_cuda(const ll_attn_args *a, ll_stream s) {
    bool sm90;
    int e = check(a);
    if (!e) e = is_sm90(&sm90);
    if (e || a->t == 0) return e;
    return (sm90 && shape_sm90(a) ? ll_attn_bwd_sm90 : ll_attn_bwd_mma)(a, (cudaStream_t)s);
}
