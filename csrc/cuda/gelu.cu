// GELU, exact and by tanh, forward and backward: ops.GELU (arXiv 1606.08415).
#include "device.cuh"
#include "sigmoid.cuh"

#include <type_traits>

namespace ll {

// Φ(x) of the exact unit, or what stands in its place by tanh, and its derivative. (1+tanh(z))/2 is σ(2z), which keeps
// its digits where tanh is near -1.
template <bool TANH> __device__ __forceinline__ float below(float x, float &slope) {
    if (TANH) {
        constexpr float K = 1.5957691216f, C = 0.044715f; // 2·√(2/π)
        const float s = ll_sigmoid(K * x * fmaf(C * x, x, 1.0f));
        slope = s * (1.0f - s) * K * fmaf(3 * C * x, x, 1.0f);
        return s;
    }
    slope = 0.3989422804f * __expf(-0.5f * x * x);
    return fmaf(0.5f, erff(0.7071067812f * x), 0.5f); // to 6e-8; normcdf, which has the tail's digits too, is slower
}

// h = gelu(g)·u; GATED: there is a u.
template <bool TANH, bool GATED> struct GELU {
    bf16 *h;
    const bf16 *g, *u;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float x[GROUP], y[GROUP], slope;
        load8<VEC>(x, g + i, n);
        if (GATED) load8<VEC>(y, u + i, n);
#pragma unroll
        for (int k = 0; k < GROUP; k++) x[k] *= below<TANH>(x[k], slope) * (GATED ? y[k] : 1.0f);
        store8<VEC>(h + i, x, n);
    }
};

// du = dh·gelu(g), dg = dh·u·gelu'(g). A thread reads its group before it writes it: dg, du may be g, u.
template <bool TANH, bool GATED> struct GELUGrad {
    bf16 *dg, *du;
    const bf16 *dh, *g, *u;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float d[GROUP], x[GROUP], y[GROUP], slope;
        load8<VEC>(d, dh + i, n);
        load8<VEC>(x, g + i, n);
        if (GATED) load8<VEC>(y, u + i, n);
#pragma unroll
        for (int k = 0; k < GROUP; k++) {
            const float p = below<TANH>(x[k], slope);
            y[k] = d[k] * (GATED ? y[k] : 1.0f) * fmaf(x[k], slope, p);
            x[k] *= d[k] * p;
        }
        store8<VEC>(dg + i, y, n);
        if (GATED) store8<VEC>(du + i, x, n);
    }
};

// Calls f with whether the unit is made by tanh and whether it is gated, as constants.
template <class F> int gelu_kind(int32_t tanh, const void *u, F f) {
    if (tanh) return u ? f(std::true_type(), std::true_type()) : f(std::true_type(), std::false_type());
    return u ? f(std::false_type(), std::true_type()) : f(std::false_type(), std::false_type());
}

} // namespace ll

extern "C" int ll_gelu_fwd(ll_device *, ll_stream s, const ll_gelu_fwd_args *a) {
    return ll::gelu_kind(a->tanh, a->u, [&](auto tanh, auto gated) {
        ll::GELU<tanh.value, gated.value> f{(ll::bf16 *)a->h, (const ll::bf16 *)a->g, (const ll::bf16 *)a->u};
        return ll::flat(f, a->n, ll::aligned(0, a->h, a->g, a->u), s);
    });
}

extern "C" int ll_gelu_bwd(ll_device *, ll_stream s, const ll_gelu_bwd_args *a) {
    return ll::gelu_kind(a->tanh, a->u, [&](auto tanh, auto gated) {
        ll::GELUGrad<tanh.value, gated.value> f{(ll::bf16 *)a->dg, (ll::bf16 *)a->du, (const ll::bf16 *)a->dh,
                                                (const ll::bf16 *)a->g, (const ll::bf16 *)a->u};
        return ll::flat(f, a->n, ll::aligned(0, a->dg, a->du, a->dh, a->g, a->u), s);
    });
}
