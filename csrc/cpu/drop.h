// Dropout by a hash, so that the mask can be made again: ops.DropKeep.

// The finalizer of splitmix64, as in ops/drop.go.
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

// da[k][j] += scale·dxa[t][k]·drop(x)[t][j] for w <= DROPW channels from i of n tokens of c, in the order of t; da
// has r rows of c.
void FN(drop_da)(const ll_drop_grad_t *g) {
    const ll_drop_t *d = g->drop;
    float *da = g->da, scale = g->scale;
    const float *dxa = g->dxa, *x = g->x;
    int64_t n = g->n, c = g->c, r = g->r, i = g->i, w = g->w;
    float z[DROPW];
    for (int64_t t = 0; t < n; t++, dxa += r) {
        drop_factors(z, d, t, i);
        for (int64_t j = 0; j < w; j++) z[j] *= scale * x[t * c + i + j];
        for (int64_t k = 0; k < r; k++) axpy(da + k * c + i, dxa[k], z, w);
    }
}

// dx[t] += scale·dropped(dxa[t]·A) for n tokens of c channels; A has r rows.
void FN(drop_dx)(const ll_drop_grad_t *g) {
    const ll_drop_t *d = g->drop;
    float *dx = g->dx, scale = g->scale;
    const float *dxa = g->dxa, *a = g->a;
    int64_t n = g->n, c = g->c, r = g->r;
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
