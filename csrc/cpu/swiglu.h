// SwiGLU, forward and backward: ops.SwiGLU.

INLINE V sigmoid(V g) { return vset(1) / (vset(1) + vexp(-g)); }

void FN(swiglu_fwd)(float *h, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        int64_t c = n - i;
        V x = c >= VL ? vload(g + i) : vpart(g + i, c, 0), y = c >= VL ? vload(u + i) : vpart(u + i, c, 0);
        V r = x * sigmoid(x) * y;
        if (c >= VL) vstore(h + i, r);
        else vpartstore(h + i, r, c);
    }
}

void FN(swiglu_bwd)(float *dg, float *du, const float *dh, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        int64_t c = n - i;
        V x = c >= VL ? vload(g + i) : vpart(g + i, c, 0), y = c >= VL ? vload(u + i) : vpart(u + i, c, 0);
        V d = c >= VL ? vload(dh + i) : vpart(dh + i, c, 0), s = sigmoid(x);
        V a = d * y * s * (vset(1) + x * (vset(1) - s)), b = d * x * s;
        if (c >= VL) {
            vstore(dg + i, a);
            vstore(du + i, b);
        } else {
            vpartstore(dg + i, a, c);
            vpartstore(du + i, b, c);
        }
    }
}
