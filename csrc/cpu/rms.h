// RMSNorm, forward and backward: ops.RMSNorm.

static void FN(rms_fwd_row)(float *y, float *rstd, const float *x, const float *w, int64_t c, float plus,
                             float eps) {
    double s = 0;
    for (int64_t i = 0; i < c; i++) s += (double)x[i] * x[i];
    float r = (float)(1.0 / sqrt(s / (double)c + eps));
    *rstd = r;
    for (int64_t i = 0; i < c; i++) y[i] = x[i] * r * (plus + w[i]);
}

static void FN(rms_bwd_row)(float *dx, const float *dy, const float *x, float rstd, const float *w, int64_t c,
                            float plus) {
    V s = vset(0);
    int64_t i = 0;
    for (; i + VL <= c; i += VL) s += vload(dy + i) * (vset(plus) + vload(w + i)) * vload(x + i);
    float t = vsum(s);
    for (; i < c; i++) t += dy[i] * (plus + w[i]) * x[i];
    float f = rstd * rstd * t / (float)c;
    for (i = 0; i < c; i++) dx[i] += rstd * (dy[i] * (plus + w[i]) - x[i] * f);
}

void FN(rms_fwd)(const ll_rms_t *a) {
    for (int64_t t = 0; t < a->n; t++)
        FN(rms_fwd_row)(a->y + t * a->c, a->rstd + t, a->x + t * a->c, a->w, a->c, a->plus,
                        a->eps);
}

void FN(rms_bwd)(const ll_rms_t *a) {
    for (int64_t t = 0; t < a->n; t++)
        FN(rms_bwd_row)(a->dx + t * a->c, a->dy + t * a->c, a->x + t * a->c, a->rstd[t], a->w, a->c,
                        a->plus);
}

// dw[i] += r[t]·dy[t][i]·x[t][i] for w adjacent channels of n tokens of c channels, in the order of t.
void FN(rms_weight)(float *dw, const ll_rms_t *a, int64_t w) {
    const float *r = a->rstd, *dy = a->dy, *x = a->x;
    int64_t n = a->n, c = a->c;
    for (int64_t t = 0; t < n; t++, dy += c, x += c)
        for (int64_t i = 0; i < w; i++) dw[i] += r[t] * dy[i] * x[i];
}
