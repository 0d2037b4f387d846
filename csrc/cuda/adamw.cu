// One AdamW update: ops.Optimizer.AdamW (arXiv 1711.05101, alg. 2), in float32 and in the order of PyTorch's formula:
// the moments by m + (g-m)·r1 and b2·v + r2·g² with r1 = 1-b1 and r2 = 1-b2, the step by m/(√v/root + eps).
#include "device.cuh"

namespace ll {

struct AdamW {
    float *w, *m, *v;
    const float *grad;
    bf16 *copy;
    float scale, keep, r1, b2, r2, step, root, eps;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float x[GROUP], a[GROUP], b[GROUP], y[GROUP];
        load8<VEC>(x, grad + i, n);
        load8<VEC>(a, m + i, n);
        load8<VEC>(b, v + i, n);
        load8<VEC>(y, w + i, n);
#pragma unroll
        for (int k = 0; k < GROUP; k++) {
            float g = scale * x[k];
            a[k] += (g - a[k]) * r1;
            b[k] = b2 * b[k] + r2 * g * g;
            y[k] = y[k] * keep - step * a[k] / (sqrtf(b[k]) / root + eps);
        }
        store8<VEC>(m + i, a, n);
        store8<VEC>(v + i, b, n);
        store8<VEC>(w + i, y, n);
        if (copy) store8<VEC>(copy + i, y, n);
    }
};

} // namespace ll

extern "C" int ll_adamw(ll_device *, ll_stream s, const ll_adamw_args *a) {
    ll::AdamW f{a->w,  a->m,         a->v,    a->grad, (ll::bf16 *)a->copy, a->grad_scale, a->keep, a->r1, a->b2,
                a->r2, a->step_size, a->root, a->eps};
    return ll::flat(f, a->n, ll::aligned(0, a->w, a->m, a->v, a->grad, a->copy), s);
}
