// SwiGLU, forward and backward: ops.SwiGLU.
#include "swiglu.cuh"

namespace ll {

// h = g·σ(g)·u
struct SwiGLU {
    bf16 *h;
    const bf16 *g, *u;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float x[GROUP], y[GROUP];
        load8<VEC>(x, g + i, n);
        load8<VEC>(y, u + i, n);
        swiglu8(x, y);
        store8<VEC>(h + i, x, n);
    }
};

// du = dh·g·σ, dg = dh·u·σ·(1+g·(1-σ)). A thread reads its group before it writes it: dg, du may be g, u.
struct SwiGLUGrad {
    bf16 *dg, *du;
    const bf16 *dh, *g, *u;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float d[GROUP], x[GROUP], y[GROUP];
        load8<VEC>(d, dh + i, n);
        load8<VEC>(x, g + i, n);
        load8<VEC>(y, u + i, n);
        swiglu_grad8(x, y, d);
        store8<VEC>(dg + i, y, n);
        store8<VEC>(du + i, x, n);
    }
};

} // namespace ll

extern "C" int ll_swiglu_fwd(ll_device *, ll_stream s, const ll_swiglu_fwd_args *a) {
    ll::SwiGLU f{(ll::bf16 *)a->h, (const ll::bf16 *)a->g, (const ll::bf16 *)a->u};
    return ll::flat(f, a->n, ll::aligned(0, a->h, a->g, a->u), s);
}

extern "C" int ll_swiglu_bwd(ll_device *, ll_stream s, const ll_swiglu_bwd_args *a) {
    ll::SwiGLUGrad f{(ll::bf16 *)a->dg, (ll::bf16 *)a->du, (const ll::bf16 *)a->dh, (const ll::bf16 *)a->g,
                     (const ll::bf16 *)a->u};
    return ll::flat(f, a->n, ll::aligned(0, a->dg, a->du, a->dh, a->g, a->u), s);
}
