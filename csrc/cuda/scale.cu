// y = res + f·x, or f·x: ops.Scale.
#include "device.cuh"

namespace ll {

// A thread reads its group before it writes it: y may be res or x.
struct Scale {
    bf16 *y;
    const bf16 *res, *x;
    float f;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float v[GROUP], r[GROUP];
        load8<VEC>(v, x + i, n);
        if (res) load8<VEC>(r, res + i, n);
#pragma unroll
        for (int k = 0; k < GROUP; k++) v[k] = res ? r[k] + f * v[k] : f * v[k];
        store8<VEC>(y + i, v, n);
    }
};

} // namespace ll

extern "C" int ll_scale(ll_device *, ll_stream s, const ll_scale_args *a) {
    ll::Scale f{(ll::bf16 *)a->y, (const ll::bf16 *)a->res, (const ll::bf16 *)a->x, a->f};
    return ll::flat(f, a->n, ll::aligned(0, a->y, a->res, a->x), s);
}
