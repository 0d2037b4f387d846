// Chooses the attention kernels: those for Hopper where the device is one and the head size suits, else the portable
// ones.
#include "attn.cuh"

namespace {

int check(const ll_attn_args *a) {
    if (a->d < 2 || a->d > 256 || a->d % 2 || a->mode == LL_ROLL) return cudaErrorNotSupported;
    if (a->h < 1 || a->hkv < 1 || a->h % a->hkv || a->t < 0 || a->w < a->q0 + a->t - a->k0 || a->q0 + a->t > INT32_MAX)
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

bool shape_sm90(const ll_attn_args *a) { return a->d == 64 || a->d == 128; }

} // namespace

extern "C" size_t ll_attn_bwd_work(const ll_attn_args *a) {
    const size_t n = ll_attn_bwd_mma_work(a), m = shape_sm90(a) ? ll_attn_bwd_sm90_work(a) : 0;
    return n > m ? n : m;
}

extern "C" int ll_attn_fwd(ll_device *d, ll_stream s, const ll_attn_args *a) {
    const int e = check(a);
    if (e || a->t == 0) return e;
    return (d->hopper() && shape_sm90(a) ? ll_attn_fwd_sm90 : ll_attn_fwd_mma)(d, (cudaStream_t)s, a);
}

extern "C" int ll_attn_bwd(ll_device *d, ll_stream s, const ll_attn_args *a) {
    const int e = check(a);
    if (e || a->t == 0) return e;
    return (d->hopper() && shape_sm90(a) ? ll_attn_bwd_sm90 : ll_attn_bwd_mma)(d, (cudaStream_t)s, a);
}
