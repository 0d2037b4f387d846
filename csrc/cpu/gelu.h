// GELU, exact and by tanh, forward and backward: ops.GELU.

// The unit's value, and its derivative in *slope.
static float FN(gelu_at)(float x, int32_t by_tanh, float *slope) {
    if (by_tanh) {
        const float k = 0.7978845608f, c = 0.044715f; // √(2/π)
        float t = tanhf(k * (x + c * x * x * x));
        *slope = 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * k * (1 + 3 * c * x * x);
        return 0.5f * x * (1 + t);
    }
    float below = 0.5f * erfcf(-x * 0.7071067812f); // Φ(x)
    *slope = below + x * 0.3989422804f * expf(-0.5f * x * x);
    return x * below;
}

void FN(gelu_fwd)(const ll_gelu_t *a) {
    float slope;
    for (int64_t i = 0; i < a->n; i++)
        a->h[i] = FN(gelu_at)(a->g[i], a->tanh, &slope) * (a->u ? a->u[i] : 1);
}

void FN(gelu_bwd)(const ll_gelu_t *a) {
    for (int64_t i = 0; i < a->n; i++) {
        float slope, d = a->h[i], v = FN(gelu_at)(a->g[i], a->tanh, &slope), u = a->u ? a->u[i] : 1;
        a->dg[i] = d * u * slope;
        if (a->u) a->du[i] = d * v;
    }
}
