// Chooses the attention kernels: for one query its own; those for Hopper where the device is one and the head size
// suits; else the portable ones.
#include "attn.cuh"

namespace {

int check(const ll_attn_args *a) {
    if (a->d < 2 || a->d > 256 || a->d % 2 || a->mode == LL_ROLL) return cudaErrorNotSupported;
    if (a->all && (a->q0 != a->k0 || a->w != a->t)) return cudaErrorInvalidValue;
    if (a->h < 1 || a->hkv < 1 || a->h % a->hkv || a->t < 0 || a->w < a->q0 + a->t - a->k0 || a->q0 + a->t > INT32_MAX)
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

bool shape_sm90(const ll_attn_args *a) { return a->d == 64 || a->d == 128; }

// Turns the gradient x (T,heads,D) of what was turned back.
int turn_back(ll_device *d, ll_stream s, const ll_attn_args *a, void *x, int heads) {
    const ll_rope_args r = {x, x, a->turn, LL_BF16, LL_BF16, a->t, heads, a->d, a->r, 1};
    return ll_rope(d, s, &r);
}

} // namespace

extern "C" size_t ll_attn_bwd_work(const ll_attn_args *a) {
    const size_t n = ll_attn_bwd_mma_work(a), m = shape_sm90(a) ? ll_attn_bwd_sm90_work(a) : 0;
    return n > m ? n : m;
}

extern "C" size_t ll_attn_fwd_work(const ll_device *d, const ll_attn_args *a) {
    return check(a) || !ll_attn_decodes(a) ? 0 : ll_attn_decode_work(d, a);
}

extern "C" int ll_attn_fwd(ll_device *d, ll_stream s, const ll_attn_args *a) {
    const int e = check(a);
    if (e || a->t == 0) return e;
    if (ll_attn_decodes(a)) return ll_attn_decode(d, (cudaStream_t)s, a);
    return (d->hopper() && shape_sm90(a) ? ll_attn_fwd_sm90 : ll_attn_fwd_mma)(d, (cudaStream_t)s, a);
}

extern "C" int ll_attn_bwd(ll_device *d, ll_stream s, const ll_attn_args *a) {
    const int e = check(a);
    if (e || a->t == 0) return e;
    const bool hopper = d->hopper() && shape_sm90(a);
    int r = (hopper ? ll_attn_bwd_sm90 : ll_attn_bwd_mma)(d, (cudaStream_t)s, a);
    if (!a->turn || hopper && a->r == a->d) return r; // those for Hopper turn whole heads back themselves
    if (!r) r = turn_back(d, s, a, a->dq, a->h);
    if (!r && a->all) r = turn_back(d, s, a, a->dk, a->hkv);
    return r;
}
