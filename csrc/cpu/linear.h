// Products. A micro-tile of MR×NR sums stays in registers over a block of k; every element is one chain of
// multiply-adds in the order of k, so its bits depend on its row and column alone, not on where the row stands.

// c[i][0..NR) = cin + Σ_k a[i*ars + k*acs] · bp[k][0..NR). Exactly one of ars, acs is 1.
#define MICRO(NAME, ADDR)                                                                                  \
    static __attribute__((noinline)) void FN(NAME)(int64_t kc, const float *a, int64_t st, const float *bp, \
                                                   float *c, int64_t ldc, const float *cin, int64_t ldcin) { \
        V s[MR][2];                                                                                        \
        _Pragma("GCC unroll 12") for (int i = 0; i < MR; i++) {                                            \
            s[i][0] = cin ? vload(cin + i * ldcin) : vset(0);                                              \
            s[i][1] = cin ? vload(cin + i * ldcin + VL) : vset(0);                                         \
        }                                                                                                  \
        for (int64_t k = 0; k < kc; k++) {                                                                 \
            V b0 = vload(bp + k * NR), b1 = vload(bp + k * NR + VL);                                       \
            _Pragma("GCC unroll 12") for (int i = 0; i < MR; i++) {                                        \
                V x = vset(ADDR);                                                                          \
                s[i][0] += x * b0;                                                                         \
                s[i][1] += x * b1;                                                                         \
            }                                                                                              \
        }                                                                                                  \
        _Pragma("GCC unroll 12") for (int i = 0; i < MR; i++) {                                            \
            vstore(c + i * ldc, s[i][0]);                                                                  \
            vstore(c + i * ldc + VL, s[i][1]);                                                             \
        }                                                                                                  \
    }
MICRO(micro_col, a[k * st + i]) // rows adjacent: ars 1, acs st
MICRO(micro_row, a[i * st + k]) // k adjacent: acs 1, ars st

// One micro-tile that may be cut at mr rows and nr columns: computed whole in t, the wanted part copied.
// a must be readable for MR rows.
INLINE void micro_edge(int col, int64_t kc, const float *a, int64_t st, const float *bp, float *c, int64_t ldc,
                       const float *cin, int64_t ldcin, int64_t mr, int64_t nr) {
    if (mr == MR && nr == NR) {
        if (col) FN(micro_col)(kc, a, st, bp, c, ldc, cin, ldcin);
        else FN(micro_row)(kc, a, st, bp, c, ldc, cin, ldcin);
        return;
    }
    float t[MR * NR];
    memset(t, 0, sizeof t);
    if (cin)
        for (int64_t i = 0; i < mr; i++) memcpy(t + i * NR, cin + i * ldcin, nr * 4);
    if (col) FN(micro_col)(kc, a, st, bp, t, NR, t, NR);
    else FN(micro_row)(kc, a, st, bp, t, NR, t, NR);
    for (int64_t i = 0; i < mr; i++) memcpy(c + i * ldc, t + i * NR, nr * 4);
}

#define KC 256             // k of a block: a B panel of NR columns is 32 KB with 32
#define MC (8 * MR)        // rows of A packed at a time
#define NB 256             // columns of B packed at a time: KC·NB floats are 256 KB, a quarter of an L2

int64_t FN(gemm_work)(void) { return KC * NB + KC * MC + VL; } // pack_a may write VL - MR floats too much

// Lanes of the two halves of a stage below, as constants: the compiler must see them to choose its shuffles.
#define LANE_LO(j, w) ((j) & (w) ? VL + (j) - (w) : (j))
#define LANE_HI(j, w) ((j) & (w) ? VL + (j) : (j) + (w))
#define LANES4(F, j, w) F(j, w), F(j + 1, w), F(j + 2, w), F(j + 3, w)
#if VL == 16
#define LANES(F, w) (VI){LANES4(F, 0, w), LANES4(F, 4, w), LANES4(F, 8, w), LANES4(F, 12, w)}
#elif VL == 8
#define LANES(F, w) (VI){LANES4(F, 0, w), LANES4(F, 4, w)}
#else
#define LANES(F, w) (VI){LANES4(F, 0, w)}
#endif
#define STAGE(w)                                                          \
    _Pragma("GCC unroll 16") for (int i = 0; i < VL; i++) if (!(i & w)) { \
        V a = r[i], b = r[i + w];                                         \
        r[i] = __builtin_shuffle(a, b, LANES(LANE_LO, w));                \
        r[i + w] = __builtin_shuffle(a, b, LANES(LANE_HI, w));            \
    }

// The square of VL rows turned over, by exchanging ever larger off-diagonal blocks (Eklundh).
INLINE void transpose(V r[VL]) {
    STAGE(1)
    STAGE(2)
#if VL > 4
    STAGE(4)
#endif
#if VL > 8
    STAGE(8)
#endif
}

// VL halves as integers, and float16 as float32, exactly.
#if VL == 16
INLINE VI wide(const uint16_t *p) { return (VI)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE V halves(const uint16_t *p) { return (V)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
#elif VL == 8
INLINE VI wide(const uint16_t *p) { return (VI)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE V halves(const uint16_t *p) { return (V)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
#else
INLINE VI wide(const uint16_t *p) { return (VI){p[0], p[1], p[2], p[3]}; }
INLINE V halves(const uint16_t *p) { // the exponent's bias goes from 15 to 127
    VI h = wide(p), e = h & 0x7c00, n = ((h & 0x7fff) << 13) + (112 << 23);
    n += (e == 0x7c00) & (112 << 23); // infinity and NaN: all ones
    V small = __builtin_convertvector(h & 0x3ff, V) * vset(0x1p-24f); // below the normal numbers
    return (V)((VI)vsel(e == 0, small, (V)n) | (h & 0x8000) << 16);
}
#endif

// The VL elements of b from i on, and element i alone, whatever their type.
INLINE V vat(const void *b, int32_t type, int64_t i) {
    const uint16_t *p = (const uint16_t *)b + i;
    return type == LL_F32 ? vload((const float *)b + i) : type == LL_BF16 ? (V)(wide(p) << 16) : halves(p);
}
INLINE float at(const void *b, int32_t type, int64_t i) {
    if (type == LL_F32) return ((const float *)b)[i];
    uint16_t one[VL] = {((const uint16_t *)b)[i]};
    return vat(one, type, 0)[0];
}

INLINE float load1(const uint8_t *p, int64_t i) {
    float x;
    memcpy(&x, p + 4 * i, 4);
    return x;
}

// A float's bits rounded to the nearest float16.
static uint32_t f16_round(uint32_t u) {
    uint32_t a = u & 0x7fffffff;
    if (a >= 0x7f800000) return u;
    if (a >= 0x477ff000) a = 0x7f800000;
    else if (a >= 0x38800000) a = (a + 0xfff + (a >> 13 & 1)) & ~0x1fffu;
    else { // multiples of 2^-24, the last bit of floats from 1/2 to 1
        volatile float x;
        memcpy((void *)&x, &a, 4);
        x += 0.5f;
        x -= 0.5f;
        memcpy(&a, (void *)&x, 4);
    }
    return a | (u & 0x80000000);
}

// The 16 values that elements of a block may have: map[c]·factor, rounded to the matrix's type.
INLINE void nf4_values(float v[16], const ll_matrix_t *m, int64_t block) {
    float f;
    if (m->nested) {
        // two roundings, as bitsandbytes has them: the compiler shall not fuse product and sum
        volatile float p = load1(m->nested_map, m->absmax[block]) * load1(m->nested_absmax, block / m->nested);
        f = p + m->offset;
    } else f = load1(m->absmax, block);
    uint32_t u[16];
    for (int c = 0; c < 16; c++) v[c] = load1(m->map_, c) * f;
    memcpy(u, v, sizeof u);
    if (m->values == LL_BF16)
        for (int c = 0; c < 16; c++)
            u[c] = (u[c] & 0x7f800000) == 0x7f800000 ? u[c] : (u[c] + 0x7fff + (u[c] >> 16 & 1)) & 0xffff0000;
    if (m->values == LL_F16)
        for (int c = 0; c < 16; c++) u[c] = f16_round(u[c]);
    memcpy(v, u, sizeof u);
}

// n values of an NF4 matrix from element e on.
static __attribute__((noinline)) void FN(nf4)(float *out, const ll_matrix_t *m, int64_t e, int64_t n) {
    const uint8_t *codes = m->p;
    for (int64_t end = e + n; e < end;) {
        int64_t b = e / m->block, stop = (b + 1) * m->block < end ? (b + 1) * m->block : end;
        float v[16];
        nf4_values(v, m, b);
        if (e & 1) *out++ = v[codes[e++ / 2] & 15];
        for (; e + 2 <= stop; e += 2, out += 2) {
            uint8_t c = codes[e / 2];
            out[0] = v[c >> 4];
            out[1] = v[c & 15];
        }
        if (e < stop) *out++ = v[codes[e++ / 2] >> 4];
    }
}

// n values of an FP8 matrix from element e on. A float of 8 bits, shifted to where float32 has exponent and fraction,
// is 2^-120 times too small.
static __attribute__((noinline)) void FN(fp8)(float *out, const ll_matrix_t *m, int64_t e, int64_t n) {
    const uint8_t *codes = m->p;
    for (int64_t end = e + n; e < end;) {
        int64_t row = e / m->block, len = (row + 1) * m->block < end ? (row + 1) * m->block - e : end - e;
        float f = load1(m->absmax, row);
        for (int64_t i = 0; i < len; i++) {
            uint32_t c = codes[e + i], a = c & 0x7f;
            uint32_t u = (a == 0x7f ? 0x7fc00000 : a << 20) | (c & 0x80) << 24;
            float x;
            memcpy(&x, &u, 4);
            out[i] = x * 0x1p120f * f;
        }
        out += len;
        e += len;
    }
}

// n values of a matrix of codes from element e on.
INLINE void coded(float *out, const ll_matrix_t *m, int64_t e, int64_t n) {
    if (m->type == LL_NF4) FN(nf4)(out, m, e, n);
    else FN(fp8)(out, m, e, n);
}

// B[k0..k0+kc, n0..n0+nr) into bp[k][NR], zero beyond nr; NR is twice VL.
INLINE void pack(float *bp, const void *b, int32_t type, int64_t brs, int64_t bcs, int64_t k0, int64_t kc, int64_t n0,
                 int64_t nr) {
    int64_t o = k0 * brs + n0 * bcs, k = 0;
    if (nr < NR) memset(bp, 0, kc * NR * 4);
    else if (bcs == 1)
        for (; k < kc; k++) {
            // rows lie far apart, which the processor's own prefetching does not follow
            __builtin_prefetch((const char *)b + (o + (k + 16) * brs) * (type == LL_F32 ? 4 : 2));
            for (int64_t j = 0; j < NR; j += VL) vstore(bp + k * NR + j, vat(b, type, o + k * brs + j));
        }
    else
        for (; k + VL <= kc; k += VL)
            for (int64_t j = 0; j < NR; j += VL) {
                V r[VL];
                for (int i = 0; i < VL; i++) r[i] = vat(b, type, o + (j + i) * bcs + k);
                transpose(r);
                for (int l = 0; l < VL; l++) vstore(bp + (k + l) * NR + j, r[l]);
            }
    for (; k < kc; k++)
        for (int64_t j = 0; j < nr; j++) bp[k * NR + j] = at(b, type, o + k * brs + j * bcs);
}

static void FN(pack_b)(float *bp, const ll_term_t *t, int64_t k0, int64_t kc, int64_t n0, int64_t nr) {
    const void *b = t->b.p;
    int64_t brs = t->brs, bcs = t->bcs;
    if (t->b.type == LL_F32) pack(bp, b, LL_F32, brs, bcs, k0, kc, n0, nr);
    else if (t->b.type == LL_BF16) pack(bp, b, LL_BF16, brs, bcs, k0, kc, n0, nr);
    else if (t->b.type == LL_F16) pack(bp, b, LL_F16, brs, bcs, k0, kc, n0, nr);
    else if (bcs == 1) {
        if (nr < NR) memset(bp, 0, kc * NR * 4);
        for (int64_t k = 0; k < kc; k++) coded(bp + k * NR, &t->b, (k0 + k) * brs + n0, nr);
    } else {
        float rows[NR * KC];
        for (int64_t j = 0; j < nr; j++) coded(rows + j * KC, &t->b, (n0 + j) * bcs + k0, kc);
        pack(bp, rows, LL_F32, 1, KC, 0, kc, 0, nr);
    }
}

// alpha·A[m0..m0+mr, k0..k0+kc) into ap[k][MR], zero beyond mr.
static void FN(pack_a)(float *ap, const ll_term_t *t, int64_t m0, int64_t mr, int64_t k0, int64_t kc) {
    const float *a = t->a + m0 * t->ars + k0 * t->acs;
    if (mr < MR) memset(ap, 0, kc * MR * 4);
    if (t->ars == 1) {
        int64_t k = 0;
        if (mr == MR) // reads up to VL - MR floats of the next row, stores them where that row goes
            for (; k + 1 < kc; k++)
                for (int i = 0; i < MR; i += VL) vstore(ap + k * MR + i, vload(a + k * t->acs + i) * t->alpha);
        for (; k < kc; k++)
            for (int64_t i = 0; i < mr; i++) ap[k * MR + i] = t->alpha * a[k * t->acs + i];
        return;
    }
    int64_t k = 0;
    V r[VL];
    if (mr == MR)
        for (; k + VL <= kc; k += VL) {
            for (int i = 0; i < MR; i++) r[i] = vload(a + i * t->ars + k) * t->alpha;
            for (int i = MR; i < VL; i++) r[i] = vset(0);
            transpose(r);
            // MR < VL: what a store writes too much is the next one's place, the next panel's, or spare
            for (int l = 0; l < VL; l++) vstore(ap + (k + l) * MR, r[l]);
        }
    for (; k < kc; k++)
        for (int64_t i = 0; i < mr; i++) ap[k * MR + i] = t->alpha * a[i * t->ars + k];
}

void FN(gemm)(const ll_gemm_t *g, float *work) {
    float *bp = work, *ap = work + KC * NB;
    for (int64_t n = g->n0; n < g->n1; n += NB) {
        int64_t nb = g->n1 - n < NB ? g->n1 - n : NB;
        const float *cin = g->cin;
        int64_t ldcin = g->ldcin;
        for (int32_t ti = 0; ti < g->nterms; ti++) {
            const ll_term_t *t = g->terms + ti;
            for (int64_t k = 0; k < t->k; k += KC) {
                int64_t kc = t->k - k < KC ? t->k - k : KC;
                if (ll_stopped(g->stop)) return;
                for (int64_t j = 0; j < nb; j += NR)
                    FN(pack_b)(bp + j * kc, t, k, kc, n + j, nb - j < NR ? nb - j : NR);
                for (int64_t m = g->m0; m < g->m1; m += MC) {
                    int64_t me = g->m1 - m < MC ? g->m1 : m + MC;
                    for (int64_t i = m; i < me; i += MR)
                        FN(pack_a)(ap + (i - m) * kc, t, i, me - i < MR ? me - i : MR, k, kc);
                    for (int64_t j = 0; j < nb; j += NR)
                        for (int64_t i = m; i < me; i += MR)
                            micro_edge(1, kc, ap + (i - m) * kc, MR, bp + j * kc, g->c + i * g->ldc + n + j, g->ldc,
                                       cin ? cin + i * ldcin + n + j : 0, ldcin, me - i < MR ? me - i : MR,
                                       nb - j < NR ? nb - j : NR);
                }
                cin = g->c;
                ldcin = g->ldc;
            }
        }
        if (g->bias)
            for (int64_t m = g->m0; m < g->m1; m++)
                for (int64_t j = n; j < n + nb; j++) g->c[m * g->ldc + j] += g->bias[j];
    }
}

// c[i][j] = Σ_k a[i][k]·b[j][k] for few columns: dot products, four rows by four columns at a time. A row's
// bits do not depend on its place: rows and columns beyond the edge repeat the last one.
void FN(skinny)(const ll_skinny_t *g) {
    float *c = g->c;
    const float *a = g->a, *b = g->b;
    int64_t ldc = g->ldc, lda = g->lda, ldb = g->ldb, m = g->m, n = g->n, k = g->k;
    for (int64_t i = 0; i < m; i += 4)
        for (int64_t j = 0; j < n; j += 4) {
            const float *x[4], *y[4];
            V s[4][4];
            for (int u = 0; u < 4; u++) {
                x[u] = a + (i + u < m ? i + u : m - 1) * lda;
                y[u] = b + (j + u < n ? j + u : n - 1) * ldb;
                for (int w = 0; w < 4; w++) s[u][w] = vset(0);
            }
            int64_t p = 0;
            for (; p + VL <= k; p += VL) {
                V yv[4];
                _Pragma("GCC unroll 4") for (int w = 0; w < 4; w++) yv[w] = vload(y[w] + p);
                _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) {
                    V xv = vload(x[u] + p);
                    _Pragma("GCC unroll 4") for (int w = 0; w < 4; w++) s[u][w] += xv * yv[w];
                }
            }
            for (int u = 0; u < 4 && i + u < m; u++)
                for (int w = 0; w < 4 && j + w < n; w++) {
                    float t = vsum(s[u][w]);
                    for (int64_t q = p; q < k; q++) t += x[u][q] * y[w][q];
                    c[(i + u) * ldc + j + w] = t;
                }
        }
}

// y[r] = Σ_i w[r·ld + i]·x[i] for `rows` rows, a constant. Rows read side by side, and lines asked for `ahead` bytes
// before they are wanted, keep more of memory's requests under way than one row does; each row is summed as if it
// were alone.
INLINE void dots(float *y, const float *x, const void *w, int32_t type, int rows, int64_t ld, int64_t in,
                 int64_t ahead) {
    V s[4][2];
    int64_t i = 0, size = type == LL_F32 ? 4 : 2;
    for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = vset(0);
    for (; i + 2 * VL <= in; i += 2 * VL) {
        V x0 = vload(x + i), x1 = vload(x + i + VL);
        _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {
            int64_t k = r * ld + i;
            for (int64_t b = 0; b < 2 * VL * size; b += 64) __builtin_prefetch((const char *)w + k * size + b + ahead);
            s[r][0] += vat(w, type, k) * x0;
            s[r][1] += vat(w, type, k + VL) * x1;
        }
    }
    for (int r = 0; r < rows; r++) {
        y[r] = vsum(s[r][0] + s[r][1]);
        for (int64_t k = i; k < in; k++) y[r] += at(w, type, r * ld + k) * x[k];
    }
}

// y[o] = Σ_i w[o][i]·x[i]: one token, at the rate at which memory gives the weights. Each quarter of the rows is one
// stream.
INLINE void gemv(float *y, const float *x, const void *w, int32_t type, int64_t out, int64_t in) {
    int64_t q = out / 4, row = in * (type == LL_F32 ? 4 : 2);
    for (int64_t o = 0; o < q; o++) {
        float s[4];
        dots(s, x, (const char *)w + o * row, type, 4, q * in, in, 1024);
        for (int r = 0; r < 4; r++) y[o + r * q] = s[r];
    }
    for (int64_t o = 4 * q; o < out; o++) dots(y + o, x, (const char *)w + o * row, type, 1, in, in, 1024);
}

// The same of a matrix of codes, of whose rows a piece at a time is made floats; bits are those of the floats.
static void FN(gemv_coded)(float *y, const float *x, const ll_matrix_t *w, int64_t first, int64_t out, int64_t in) {
    float row[KC];
    for (int64_t o = 0; o < out; o++) {
        V s[2] = {vset(0), vset(0)};
        y[o] = 0;
        for (int64_t at = 0; at < in; at += KC) {
            int64_t n = in - at < KC ? in - at : KC, i = 0;
            coded(row, w, (first + o) * in + at, n);
            for (; i + 2 * VL <= n; i += 2 * VL) {
                s[0] += vload(row + i) * vload(x + at + i);
                s[1] += vload(row + i + VL) * vload(x + at + i + VL);
            }
            if (at + n < in) continue;
            y[o] = vsum(s[0] + s[1]);
            for (; i < n; i++) y[o] += row[i] * x[at + i];
        }
    }
}

void FN(gemv)(float *y, const float *x, const ll_matrix_t *w, int64_t first, int64_t out, int64_t in) {
    if (w->type == LL_F32) gemv(y, x, (const float *)w->p + first * in, LL_F32, out, in);
    else if (w->type == LL_BF16) gemv(y, x, (const uint16_t *)w->p + first * in, LL_BF16, out, in);
    else if (w->type == LL_F16) gemv(y, x, (const uint16_t *)w->p + first * in, LL_F16, out, in);
    else FN(gemv_coded)(y, x, w, first, out, in);
}
