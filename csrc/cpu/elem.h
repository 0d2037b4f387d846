// What stands between the products: softmax of a row of logits, norms, SwiGLU, dropout, RoPE, AdamW.

// The loss of one row of n logits and, with grad, scale·(softmax - onehot(target)) in place. Returns -log p.
// best, when wanted, is the lowest index of the largest logit. NaN and Inf come through as NaN.
float FN(softmax)(float *row, int64_t n, int32_t target, float scale, int32_t grad, int32_t *best) {
    V m = vset(-INFINITY);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) m = vmax(vload(row + i), m);
    float top = -INFINITY;
    for (int l = 0; l < VL; l++) top = m[l] > top ? m[l] : top;
    for (; i < n; i++) top = row[i] > top ? row[i] : top;
    if (best) {
        *best = 0;
        for (int64_t j = 0; j < n; j++)
            if (row[j] == top) {
                *best = (int32_t)j;
                break;
            }
    }
    if (target < 0) return 0;
    float hit = row[target], tail = 0;
    V sum = vset(0);
    const V t = vset(top);
    for (i = 0; i + VL <= n; i += VL) {
        V e = vexp(vload(row + i) - t);
        sum += e;
        if (grad) vstore(row + i, e);
    }
    if (i < n) {
        V e = vexp(vpart(row + i, n - i, -INFINITY) - t);
        tail = vsum(e);
        if (grad) vpartstore(row + i, e, n - i);
    }
    float z = vsum(sum) + tail;
    if (grad) {
        float f = scale / z;
        for (i = 0; i + VL <= n; i += VL) vstore(row + i, vload(row + i) * f);
        for (; i < n; i++) row[i] *= f;
        row[target] -= scale;
    }
    return logf(z) + (top - hit);
}

void FN(rms_fwd)(float *y, float *rstd, const float *x, const float *w, int64_t c, float eps) {
    double s = 0;
    for (int64_t i = 0; i < c; i++) s += (double)x[i] * x[i];
    float r = (float)(1.0 / sqrt(s / (double)c + eps));
    *rstd = r;
    for (int64_t i = 0; i < c; i++) y[i] = x[i] * r * w[i];
}

void FN(rms_bwd)(float *dx, const float *dy, const float *x, float rstd, const float *w, int64_t c) {
    V s = vset(0);
    int64_t i = 0;
    for (; i + VL <= c; i += VL) s += vload(dy + i) * vload(w + i) * vload(x + i);
    float t = vsum(s);
    for (; i < c; i++) t += dy[i] * w[i] * x[i];
    float f = rstd * rstd * t / (float)c;
    for (i = 0; i < c; i++) dx[i] += rstd * (dy[i] * w[i] - x[i] * f);
}

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

// dw[i] += r[t]·dy[t][i]·x[t][i] for w adjacent channels of n tokens of c channels, in the order of t.
void FN(rms_weight)(float *dw, const float *r, const float *dy, const float *x, int64_t n, int64_t c, int64_t w) {
    for (int64_t t = 0; t < n; t++, dy += c, x += c)
        for (int64_t i = 0; i < w; i++) dw[i] += r[t] * dy[i] * x[i];
}

// The finalizer of splitmix64, as in ops/dropout.go.
INLINE uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

enum { DROPW = 64 }; // channels that are dropped at a time

// What dropout multiplies channels [i, i+DROPW) of token t by.
INLINE void drop_factors(float *z, const ll_drop_t *d, int64_t t, int64_t i) {
    uint64_t key = mix(d->keys[t] ^ d->salt), keep[DROPW];
    for (int64_t j = 0; j < DROPW; j++) keep[j] = mix(key ^ (uint64_t)(i + j)) >= d->bound;
    for (int64_t j = 0; j < DROPW; j++) z[j] = keep[j] ? d->factor : 0.0f;
}

// y += a·x for w channels, DROPW but at a row's end.
INLINE void axpy(float *y, float a, const float *x, int64_t w) {
    if (w == DROPW)
        for (int64_t j = 0; j < DROPW; j += VL) vstore(y + j, vload(y + j) + a * vload(x + j));
    else
        for (int64_t j = 0; j < w; j++) y[j] += a * x[j];
}

// y = drop(x) for n tokens of c channels.
void FN(drop)(float *y, const float *x, const ll_drop_t *d, int64_t n, int64_t c) {
    float z[DROPW];
    for (int64_t t = 0; t < n; t++, y += c, x += c)
        for (int64_t i = 0; i < c; i += DROPW) {
            int64_t w = c - i < DROPW ? c - i : DROPW;
            drop_factors(z, d, t, i);
            for (int64_t j = 0; j < w; j++) y[i + j] = z[j] * x[i + j];
        }
}

// da[k][j] += scale·dxa[t][k]·drop(x)[t][j] for w <= DROPW channels from i of n tokens of c, in the order of t; da has r
// rows of c.
void FN(drop_da)(float *da, const float *dxa, const float *x, const ll_drop_t *d, float scale, int64_t n, int64_t c,
                 int64_t r, int64_t i, int64_t w) {
    float z[DROPW];
    for (int64_t t = 0; t < n; t++, dxa += r) {
        drop_factors(z, d, t, i);
        for (int64_t j = 0; j < w; j++) z[j] *= scale * x[t * c + i + j];
        for (int64_t k = 0; k < r; k++) axpy(da + k * c + i, dxa[k], z, w);
    }
}

// dx[t] += scale·dropped(dxa[t]·A) for n tokens of c channels; A has r rows.
void FN(drop_dx)(float *dx, const float *dxa, const float *a, const ll_drop_t *d, float scale, int64_t n, int64_t c,
                 int64_t r) {
    float z[DROPW];
    for (int64_t t = 0; t < n; t++, dx += c, dxa += r)
        for (int64_t i = 0; i < c; i += DROPW) {
            int64_t end = c - i < DROPW ? c : i + DROPW, j = i;
            drop_factors(z, d, t, i);
            for (; j + VL <= end; j += VL) {
                V s = vset(0);
                for (int64_t k = 0; k < r; k++) s += dxa[k] * vload(a + k * c + j);
                vstore(dx + j, vload(dx + j) + scale * vload(z + j - i) * s);
            }
            for (; j < end; j++) {
                float s = 0;
                for (int64_t k = 0; k < r; k++) s += dxa[k] * a[k * c + j];
                dx[j] += scale * z[j - i] * s;
            }
        }
}

// One token's heads: cs holds d/2 cosines and d/2 sines.
void FN(rope)(float *dst, const float *src, const float *cs, int64_t heads, int64_t d, float sign) {
    int64_t e = d / 2;
    for (int64_t h = 0; h < heads; h++, dst += d, src += d)
        for (int64_t i = 0; i < e; i++) {
            float a = src[i], b = src[i + e], c = cs[i], s = sign * cs[i + e];
            dst[i] = a * c - b * s;
            dst[i + e] = b * c + a * s;
        }
}

// decay is 1 - lr·wd, r1 1-b1, r2 1-b2, step lr/(1-b1^s), root 1/sqrt(1-b2^s), each rounded once: 1-b2 of a rounded b2
// would be off by 3e-8/(1-b2).
void FN(adamw)(float *w, float *m, float *v, const float *g, int64_t n, float gscale, float decay, float r1, float b2,
               float r2, float step, float root, float eps) {
    for (int64_t i = 0; i < n; i++) {
        float x = gscale * g[i];
        float a = m[i] + (x - m[i]) * r1, b = b2 * v[i] + r2 * x * x;
        m[i] = a;
        v[i] = b;
        w[i] = w[i] * decay - step * a / (sqrtf(b) * root + eps);
    }
}
