// y = res + f·x, or f·x: ops.Scale.

void FN(scale)(float *y, const float *res, const float *x, float f, int64_t n) {
    if (res)
        for (int64_t i = 0; i < n; i++) y[i] = res[i] + f * x[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] = f * x[i];
}
