// LayerNorm, forward and backward: ops.LayerNorm.

void FN(layernorm_fwd)(const ll_layernorm_t *a) {
    int64_t c = a->c;
    for (int64_t t = 0; t < a->n; t++) {
        const float *x = a->x + t * c;
        float *y = a->y + t * c;
        double s = 0, q = 0;
        for (int64_t i = 0; i < c; i++) s += x[i];
        double m = s / (double)c;
        for (int64_t i = 0; i < c; i++) q += (x[i] - m) * (x[i] - m);
        float mean = (float)m, r = (float)(1.0 / sqrt(q / (double)c + a->eps));
        a->stat[2 * t] = mean, a->stat[2 * t + 1] = r;
        for (int64_t i = 0; i < c; i++) y[i] = (x[i] - mean) * r * a->w[i] + a->bias[i];
    }
}

void FN(layernorm_bwd)(const ll_layernorm_t *a) {
    int64_t c = a->c;
    for (int64_t t = 0; t < a->n; t++) {
        const float *x = a->x + t * c, *dy = a->dy + t * c;
        float *dx = a->dx + t * c, mean = a->stat[2 * t], r = a->stat[2 * t + 1];
        double s = 0, q = 0;
        for (int64_t i = 0; i < c; i++) {
            float g = dy[i] * a->w[i];
            s += g, q += g * (x[i] - mean) * r;
        }
        float sm = (float)(s / (double)c), qm = (float)(q / (double)c);
        for (int64_t i = 0; i < c; i++) dx[i] += r * (dy[i] * a->w[i] - sm - (x[i] - mean) * r * qm);
    }
}

// The gradients of weight and bias for w adjacent channels of n tokens of c channels, in the order of t.
void FN(layernorm_weight)(const ll_layernorm_t *a, int64_t w) {
    const float *dy = a->dy, *x = a->x;
    for (int64_t t = 0; t < a->n; t++, dy += a->c, x += a->c) {
        float mean = a->stat[2 * t], r = a->stat[2 * t + 1];
        if (a->dw)
            for (int64_t i = 0; i < w; i++) a->dw[i] += dy[i] * (x[i] - mean) * r;
        if (a->dbias)
            for (int64_t i = 0; i < w; i++) a->dbias[i] += dy[i];
    }
}
