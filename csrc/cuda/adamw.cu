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

extern "C" int ll_adamw(float *w, float *m, float *v, const float *grad, void *copy, int64_t n, float grad_scale,
                        float keep, float r1, float b2, float r2, float step_size, float root, float eps, ll_stream s) {
    ll::AdamW f{w, m, v, grad, (ll::bf16 *)copy, grad_scale, keep, r1, b2, r2, step_size, root, eps};
    return ll::flat(f, n, ll::aligned(0, w, m, v, grad, copy), s);
}
