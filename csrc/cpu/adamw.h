// One AdamW update: ops.Optimizer.

// decay is 1 - lr·wd, r1 1-b1, r2 1-b2, step lr/(1-b1^s), root 1/sqrt(1-b2^s), each rounded once: 1-b2 of a rounded b2
// would be off by 3e-8/(1-b2).
void FN(adamw)(const ll_adamw_t *p) {
    float *w = p->w, *m = p->m, *v = p->v;
    const float *g = p->g, gscale = p->gscale, decay = p->decay, r1 = p->r1, b2 = p->b2, r2 = p->r2, step = p->step,
                root = p->root, eps = p->eps;
    for (int64_t i = 0; i < p->n; i++) {
        float x = gscale * g[i];
        float a = m[i] + (x - m[i]) * r1, b = b2 * v[i] + r2 * x * x;
        m[i] = a;
        v[i] = b;
        w[i] = w[i] * decay - step * a / (sqrtf(b) * root + eps);
    }
}
