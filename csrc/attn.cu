// Chooses the attention kernels: those for Hopper where the device is one and the head size suits, else the portable ones.
#include "attn_tile.cuh"

namespace {

#if __has_include("attn_fwd_sm90.cu")
constexpr bool FWD_SM90 = true;
#else
constexpr bool FWD_SM90 = false;
#endif
#if __has_include("attn_bwd_sm90.cu")
constexpr bool BWD_SM90 = true;
#else
constexpr bool BWD_SM90 = false;
#endif

int check(const ll_attn_args *a) {
    if (a->d < 2 || a->d > 256 || a->d % 2 || a->mode == LL_ROLL) return cudaErrorNotSupported;
    if (a->h < 1 || a->hkv < 1 || a->h % a->hkv || a->t < 0 || a->w < a->q0 + a->t - a->k0 || a->q0 + a->t > INT32_MAX)
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

bool shape_sm90(const ll_attn_args *a) { return a->d == 64 || a->d == 128; }

int is_sm90(bool *yes) {
    int device, major, minor;
    cudaError_t e = cudaGetDevice(&device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    *yes = e == cudaSuccess && major == 9 && minor == 0;
    return e;
}

} // namespace

// The same for every device, so that a plan can be made without one.
extern "C" size_t ll_attn_work(const ll_attn_args *a, int backward) {
    if (!backward) return 0;
    size_t n = ll_attn_bwd_mma_work(a);
    if constexpr (BWD_SM90)
        if (shape_sm90(a)) {
            size_t m = ll_attn_bwd_sm90_work(a);
            if (m > n) n = m;
        }
    return n;
}

extern "C" int ll_attn_fwd_cuda(const ll_attn_args *a, ll_stream s) {
    bool sm90;
    int e = check(a);
    if (!e) e = is_sm90(&sm90);
    if (e || a->t == 0) return e;
    if constexpr (FWD_SM90)
        if (sm90 && shape_sm90(a)) return ll_attn_fwd_sm90(a, (cudaStream_t)s);
    return ll_attn_fwd_mma(a, (cudaStream_t)s);
}

extern "C" int ll_attn_bwd_cuda(const ll_attn_args *a, ll_stream s) {
    bool sm90;
    int e = check(a);
    if (!e) e = is_sm90(&sm90);
    if (e || a->t == 0) return e;
    if constexpr (BWD_SM90)
        if (sm90 && shape_sm90(a)) return ll_attn_bwd_sm90(a, (cudaStream_t)s);
    return ll_attn_bwd_mma(a, (cudaStream_t)s);
}
