// Segmented attention of one query head over one segment, in blocks of BQ queries by BK keys; scores exist for
// one block at a time (FlashAttention-2, arXiv 2307.08691). Key blocks count from the segment's start, with a sliding
// window from the document's, so a query's bits do not depend on the tile that it came in, unless it is there alone.

#define BQ (16 * MR) // queries of a block: packing the keys then costs under a tenth of the products
#define BK 128       // keys of a block: BQ·BK scores are 96 KB, within an L2

INLINE int64_t panels(int64_t d) { return (d + NR - 1) / NR * NR; }

typedef struct {
    float *kt, *vt;          // BK columns as panels [d][NR]
    float *kr, *vr;          // BK rows as panels [BK][NR] of the d columns
    float *q, *dout;         // (BQ,d) compact
    float *qp, *dp;          // BQ rows as panels [BQ][NR]
    float *s, *ds;           // (BQ,BK)
    float *acc, *acc2;       // (max(BQ,BK), panels(d))
    float *m, *l;            // (BQ) running maximum and sum
} FN(attn_buf);

int64_t FN(attn_work)(int32_t d) {
    int64_t rows = BQ > BK ? BQ : BK, dp = panels(d);
    return 2 * BK * d + 2 * BK * dp + 2 * BQ * d + 2 * BQ * dp + 2 * BQ * BK + 2 * rows * dp + 2 * BQ + 13 * 64;
}

static FN(attn_buf) FN(attn_cut)(float *w, int32_t d) {
    FN(attn_buf) b;
    int64_t rows = BQ > BK ? BQ : BK, dp = panels(d);
#define TAKE(f, n) b.f = w, w += (n) + 64 // 64 spare floats: micro-tiles may read past a block's last row
    TAKE(kt, BK * d);
    TAKE(vt, BK * d);
    TAKE(kr, BK * dp);
    TAKE(vr, BK * dp);
    TAKE(q, BQ * d);
    TAKE(dout, BQ * d);
    TAKE(qp, BQ * dp);
    TAKE(dp, BQ * dp);
    TAKE(s, BQ * BK);
    TAKE(ds, BQ * BK);
    TAKE(acc, rows * dp);
    TAKE(acc2, rows * dp);
    b.m = w;
    b.l = w + BQ;
#undef TAKE
    return b;
}

// n rows of x (stride st) as columns: out[panel][d][NR], zero beyond n. The first `skip` rows are not read, and zero.
static void FN(columns)(float *out, const float *x, int64_t st, int64_t skip, int64_t n, int32_t d) {
    for (int64_t j = 0; j < n; j += NR) {
        float *p = out + j * d;
        int64_t nr = n - j < NR ? n - j : NR, first = skip > j ? skip - j : 0;
        if (nr < NR || first > 0) memset(p, 0, d * NR * 4);
        for (int64_t kk = 0; kk < d; kk += 16) {
            int64_t ke = kk + 16 < d ? kk + 16 : d;
            for (int64_t i = first; i < nr; i++)
                for (int64_t k = kk; k < ke; k++) p[k * NR + i] = x[(j + i) * st + k];
        }
    }
}

// n rows of x as panels of their d columns: out[panel][n][NR]. The first `skip` rows are not read, and zero.
static void FN(rows)(float *out, const float *x, int64_t st, int64_t skip, int64_t n, int32_t d) {
    for (int64_t j = 0; j < d; j += NR) {
        float *p = out + j * n;
        int64_t nr = d - j < NR ? d - j : NR;
        if (nr < NR) memset(p, 0, n * NR * 4);
        else memset(p, 0, skip * NR * 4);
        for (int64_t i = skip; i < n; i++) memcpy(p + i * NR, x + i * st + j, nr * 4);
    }
}

static void FN(compact)(float *out, const float *x, int64_t st, int64_t n, int32_t d) {
    for (int64_t i = 0; i < n; i++) memcpy(out + i * d, x + i * st, d * 4);
}

// Which of a block's nk keys row r sees: those from from(r) on that are before seen(r), when causal up to r+diag, in a
// window from r+low on.
#define NOT_CAUSAL (1 << 30)
#define NO_WINDOW (-(1 << 30))

INLINE int64_t within(int64_t n, int64_t nk) { return n < 0 ? 0 : n > nk ? nk : n; }
INLINE int64_t seen(int64_t r, int64_t diag, int64_t nk) { return within(r + diag + 1, nk); }
INLINE int64_t from(int64_t r, int64_t low, int64_t nk) { return within(r + low, nk); }

// The low of queries from q0 on and keys from k on.
INLINE int64_t lowest(const ll_attn_t *a, int64_t q0, int64_t k) {
    return a->window ? q0 - a->window + 1 - k : NO_WINDOW;
}

// The first key of the block of keys in which the first key that query q sees of piece p is.
INLINE int64_t first_block(const ll_attn_t *a, int p, int64_t q) {
    int64_t skip = a->window ? q - a->window + 1 - a->lo[p] : 0;
    return a->lo[p] + (skip > 0 ? skip / BK * BK : 0);
}

// s = q·k^T for nq rows. Panels that no row of a micro-tile sees are left alone.
static void FN(scores)(float *s, const float *q, const float *kt, int64_t nq, int64_t nk, int32_t d, int64_t diag,
                       int64_t low) {
    for (int64_t i = 0; i < nq; i += MR) {
        int64_t mr = nq - i < MR ? nq - i : MR, top = i + mr + diag;
        if (top > nk) top = nk;
        for (int64_t j = from(i, low, nk) / NR * NR; j < top; j += NR)
            micro_edge(0, d, q + i * d, d, kt + j * d, s + i * BK + j, BK, 0, 0, mr, NR);
    }
}

// Row s begins with key `first`: gives the place of the vector that this is in, whose elements before it get no weight.
INLINE int64_t unseen(float *s, int64_t first) {
    int64_t i0 = first / VL * VL;
    for (int64_t i = i0; i < first; i++) s[i] = -INFINITY;
    return i0;
}

// One block of online softmax: s becomes p, m and l and the rows of acc are brought up to date.
static void FN(online)(FN(attn_buf) * b, int64_t nq, int64_t nk, int64_t dp, float scale, int64_t diag, int64_t low) {
    for (int64_t r = 0; r < nq; r++) {
        float *s = b->s + r * BK;
        int64_t n = seen(r, diag, nk), first = from(r, low, nk);
        if (n <= first) {
            memset(s, 0, BK * 4);
            continue;
        }
        int64_t i0 = unseen(s, first), i = i0;
        V mv = vset(-INFINITY);
        for (; i + VL <= n; i += VL) mv = vmax(vload(s + i), mv);
        if (i < n) mv = vmax(vpart(s + i, n - i, -INFINITY), mv);
        float top = -INFINITY;
        for (int l = 0; l < VL; l++) top = mv[l] > top ? mv[l] : top;
        top *= scale;
        float old = b->m[r], now = top > old ? top : old;
        V sum = vset(0), t = vset(now);
        for (i = i0; i + VL <= n; i += VL) {
            V e = vexp(vload(s + i) * scale - t);
            sum += e;
            vstore(s + i, e);
        }
        if (i < n) {
            V e = vexp(vpart(s + i, n - i, -INFINITY) * scale - t);
            sum += e;
            vpartstore(s + i, e, n - i);
        }
        memset(s, 0, i0 * 4);
        if (n < BK) memset(s + n, 0, (BK - n) * 4);
        if (now > old) {
            float f = old == -INFINITY ? 0 : vexp(vset(old - now))[0];
            b->l[r] *= f;
            for (int64_t j = 0; j < dp; j++) b->acc[r * dp + j] *= f;
            b->m[r] = now;
        }
        b->l[r] += vsum(sum);
    }
}

// s = cap·tanh(scale·s/cap) where rows see keys.
static void FN(cap)(float *s, int64_t nq, int64_t nk, float scale, float cap, int64_t diag, int64_t low) {
    const V in = vset(scale / cap), out = vset(cap);
    for (int64_t r = 0; r < nq; r++, s += BK) {
        int64_t n = seen(r, diag, nk), i = from(r, low, nk);
        for (; i + VL <= n; i += VL) vstore(s + i, out * vtanh(vload(s + i) * in));
        if (i < n) vpartstore(s + i, out * vtanh(vpart(s + i, n - i, 0) * in), n - i);
    }
}

// The queries [q0, q1) of piece p against all that they see.
static void FN(fwd_block)(const ll_attn_t *a, FN(attn_buf) * b, int p, int64_t q0, int64_t q1) {
    int64_t d = a->d, dp = panels(d), nq = q1 - q0;
    FN(compact)(b->q, a->q + (q0 - a->q0) * a->qs, a->qs, nq, d);
    memset(b->acc, 0, nq * dp * 4);
    for (int64_t r = 0; r < nq; r++) b->m[r] = -INFINITY, b->l[r] = 0;
    for (int kp = 0; kp <= p; kp++)
        for (int64_t k = first_block(a, kp, q0); k < a->hi[kp] && (kp < p || k < q1); k += BK) {
            int64_t nk = a->hi[kp] - k < BK ? a->hi[kp] - k : BK;
            int64_t diag = kp < p ? NOT_CAUSAL : q0 - k, low = lowest(a, q0, k);
            if (ll_stopped(a->stop)) return;
            const float *kr = a->k + (k - a->k0) * a->ks, *vr = a->v + (k - a->k0) * a->ks;
            if (kp == p && k + nk > q1) nk = q1 - k; // later keys are nobody's
            FN(columns)(b->kt, kr, a->ks, from(0, low, nk), nk, d);
            FN(rows)(b->vr, vr, a->ks, from(0, low, nk), nk, d);
            FN(scores)(b->s, b->q, b->kt, nq, nk, d, diag, low);
            if (a->cap) FN(cap)(b->s, nq, nk, a->scale, a->cap, diag, low);
            FN(online)(b, nq, nk, dp, a->cap ? 1 : a->scale, diag, low);
            for (int64_t i = 0; i < nq; i += MR) {
                int64_t mr = nq - i < MR ? nq - i : MR, n = seen(i + mr - 1, diag, nk), f = from(i, low, nk);
                for (int64_t j = 0; j < dp && n > f; j += NR)
                    micro_edge(0, n - f, b->s + i * BK + f, BK, b->vr + j * nk + f * NR, b->acc + i * dp + j, dp,
                               b->acc + i * dp + j, dp, mr, NR);
            }
        }
    for (int64_t r = 0; r < nq; r++) {
        float *o = a->out + (q0 + r - a->q0) * a->qs, f = 1 / b->l[r];
        for (int64_t j = 0; j < d; j++) o[j] = b->acc[r * dp + j] * f;
        a->lse[q0 + r - a->q0] = b->m[r] + logf(b->l[r]);
    }
}

// acc[j] += Σ_k p[k]·v[k·ks + j] for n keys and the columns of `vecs` vectors, a constant.
INLINE void weigh(float *acc, const float *p, const float *v, int64_t ks, int64_t n, int vecs) {
    V s[4];
    for (int j = 0; j < vecs; j++) s[j] = vload(acc + j * VL);
    for (int64_t k = 0; k < n; k++, v += ks)
        _Pragma("GCC unroll 4") for (int j = 0; j < vecs; j++) s[j] += vset(p[k]) * vload(v + j * VL);
    for (int j = 0; j < vecs; j++) vstore(acc + j * VL, s[j]);
}

// The only query q of piece p: keys and values are read where they lie. Packing them, as a block of queries does,
// would take most of the time that a token takes after a long prompt.
static void FN(fwd_one)(const ll_attn_t *a, FN(attn_buf) * b, int p, int64_t q) {
    int64_t d = a->d, dp = panels(d), ks = a->ks, row = q - a->q0;
    memset(b->acc, 0, dp * 4);
    b->m[0] = -INFINITY, b->l[0] = 0;
    for (int kp = 0; kp <= p; kp++) {
        int64_t hi = kp < p ? a->hi[kp] : q + 1, low = lowest(a, q, a->lo[kp]);
        for (int64_t k = a->lo[kp] + (low > 0 ? low : 0); k < hi; k += BK) {
            int64_t nk = hi - k < BK ? hi - k : BK, i = 0, j = 0;
            const float *kr = a->k + (k - a->k0) * ks, *vr = a->v + (k - a->k0) * ks;
            for (; i + 4 <= nk; i += 4) dots(b->s + i, a->q + row * a->qs, kr + i * ks, LL_F32, 4, ks, d, 16 * ks);
            for (; i < nk; i++) dots(b->s + i, a->q + row * a->qs, kr + i * ks, LL_F32, 1, ks, d, 16 * ks);
            if (a->cap) FN(cap)(b->s, 1, nk, a->scale, a->cap, NOT_CAUSAL, NO_WINDOW);
            FN(online)(b, 1, nk, dp, a->cap ? 1 : a->scale, NOT_CAUSAL, NO_WINDOW);
            for (; j + 4 * VL <= d; j += 4 * VL) weigh(b->acc + j, b->s, vr + j, ks, nk, 4);
            for (; j + VL <= d; j += VL) weigh(b->acc + j, b->s, vr + j, ks, nk, 1);
            for (; j < d; j++)
                for (i = 0; i < nk; i++) b->acc[j] += b->s[i] * vr[i * ks + j];
        }
    }
    for (int64_t j = 0; j < d; j++) a->out[row * a->qs + j] = b->acc[j] / b->l[0];
    a->lse[row] = b->m[0] + logf(b->l[0]);
}

void FN(attn_fwd)(const ll_attn_t *a, float *work) {
    FN(attn_buf) b = FN(attn_cut)(work, a->d);
    for (int p = 0; p < 2; p++)
        for (int64_t q = a->qlo[p]; q < a->qhi[p]; q += BQ)
            if (a->qhi[p] - a->qlo[p] == 1) FN(fwd_one)(a, &b, p, q);
            else FN(fwd_block)(a, &b, p, q, a->qhi[p] - q < BQ ? a->qhi[p] : q + BQ);
}

// p = exp(scale·s - lse) in b->s and ds = scale·p·(dp - delta) in b->ds, 0 where a row does not see a key.
static void FN(softmax_bwd)(FN(attn_buf) * b, const float *lse, const float *delta, int64_t nq, int64_t nk, float scale,
                            int64_t diag, int64_t low) {
    for (int64_t r = 0; r < nq; r++) {
        float *s = b->s + r * BK, *ds = b->ds + r * BK;
        int64_t n = seen(r, diag, nk), first = from(r, low, nk);
        if (first > n) first = n;
        int64_t i0 = unseen(s, first), i = i0;
        const V t = vset(lse[r]), dl = vset(delta[r]);
        for (; i + VL <= n; i += VL) {
            V e = vexp(vload(s + i) * scale - t);
            vstore(s + i, e);
            vstore(ds + i, e * (vload(ds + i) - dl) * scale);
        }
        if (i < n) {
            V e = vexp(vpart(s + i, n - i, -INFINITY) * scale - t);
            V x = e * (vpart(ds + i, n - i, 0) - dl) * scale;
            vpartstore(s + i, e, n - i);
            vpartstore(ds + i, x, n - i);
        }
        memset(s, 0, i0 * 4);
        memset(ds, 0, i0 * 4);
        if (n < BK) {
            memset(s + n, 0, (BK - n) * 4);
            memset(ds + n, 0, (BK - n) * 4);
        }
    }
}

// The same with capped scores: ds is multiplied by the cap's slope too.
static void FN(capped_bwd)(FN(attn_buf) * b, const float *lse, const float *delta, int64_t nq, int64_t nk,
                           const ll_attn_t *a, int64_t diag, int64_t low) {
    FN(cap)(b->s, nq, nk, a->scale, a->cap, diag, low);
    for (int64_t r = 0; r < nq; r++) {
        float *s = b->s + r * BK, *ds = b->ds + r * BK;
        int64_t n = seen(r, diag, nk), first = from(r, low, nk), i;
        if (first > n) first = n;
        const V t = vset(lse[r]), dl = vset(delta[r]), out = vset(1 / a->cap), by = vset(a->scale);
        for (i = first; i < n; i += VL) {
            int64_t c = n - i;
            V x = c >= VL ? vload(s + i) : vpart(s + i, c, -INFINITY);
            V y = c >= VL ? vload(ds + i) : vpart(ds + i, c, 0);
            V e = vexp(x - t), z = x * out, w = e * (y - dl) * (vset(1) - z * z) * by;
            if (c >= VL) {
                vstore(s + i, e);
                vstore(ds + i, w);
            } else {
                vpartstore(s + i, e, c);
                vpartstore(ds + i, w, c);
            }
        }
        memset(s, 0, first * 4);
        memset(ds, 0, first * 4);
        memset(s + n, 0, (BK - n) * 4);
        memset(ds + n, 0, (BK - n) * 4);
    }
}

// One block of keys (packed in b, accumulators acc for dk and acc2 for dv) against queries [q0, q1).
static void FN(bwd_block)(const ll_attn_t *a, FN(attn_buf) * b, int64_t k, int64_t nk, int64_t q0, int64_t q1,
                          int64_t diag) {
    int64_t d = a->d, dp = panels(d), nq = q1 - q0, row = q0 - a->q0, low = lowest(a, q0, k);
    FN(compact)(b->q, a->q + row * a->qs, a->qs, nq, d);
    FN(compact)(b->dout, a->dout + row * a->qs, a->qs, nq, d);
    FN(rows)(b->qp, b->q, d, 0, nq, d);
    FN(rows)(b->dp, b->dout, d, 0, nq, d);
    FN(scores)(b->s, b->q, b->kt, nq, nk, d, diag, low);
    FN(scores)(b->ds, b->dout, b->vt, nq, nk, d, diag, low);
    if (a->cap) FN(capped_bwd)(b, a->lse + row, a->delta + row, nq, nk, a, diag, low);
    else FN(softmax_bwd)(b, a->lse + row, a->delta + row, nq, nk, a->scale, diag, low);
    for (int64_t i = 0; i < nk; i += MR) {
        int64_t mr = nk - i < MR ? nk - i : MR;
        int64_t r0 = i - diag > 0 ? i - diag : 0;           // the first query that sees key i,
        int64_t r1 = i + mr - low < nq ? i + mr - low : nq; // and past the last one that sees any of these
        for (int64_t j = 0; j < dp && r0 < r1; j += NR) {
            float *dk = b->acc + i * dp + j, *dv = b->acc2 + i * dp + j;
            micro_edge(1, r1 - r0, b->s + r0 * BK + i, BK, b->dp + j * nq + r0 * NR, dv, dp, dv, dp, mr, NR);
            micro_edge(1, r1 - r0, b->ds + r0 * BK + i, BK, b->qp + j * nq + r0 * NR, dk, dp, dk, dp, mr, NR);
        }
    }
    float *dq = a->dq + row * a->qs;
    for (int64_t i = 0; i < nq; i += MR) {
        int64_t mr = nq - i < MR ? nq - i : MR, n = seen(i + mr - 1, diag, nk), f = from(i, low, nk);
        for (int64_t j = 0; j < d && n > f; j += NR)
            micro_edge(0, n - f, b->ds + i * BK + f, BK, b->kr + j * nk + f * NR, dq + i * a->qs + j, a->qs,
                       dq + i * a->qs + j, a->qs, mr, d - j < NR ? d - j : NR);
    }
}

void FN(attn_bwd)(const ll_attn_t *a, float *work) {
    FN(attn_buf) b = FN(attn_cut)(work, a->d);
    int64_t d = a->d, dp = panels(d);
    for (int p = 0; p < 2; p++)
        for (int64_t q = a->qlo[p]; q < a->qhi[p]; q++) {
            const float *x = a->dout + (q - a->q0) * a->qs, *y = a->o + (q - a->q0) * a->qs;
            float s = 0;
            for (int64_t j = 0; j < d; j++) s += x[j] * y[j];
            a->delta[q - a->q0] = s;
            memset(a->dq + (q - a->q0) * a->qs, 0, d * 4);
        }
    for (int kp = 0; kp < 2; kp++)
        for (int64_t k = first_block(a, kp, a->qlo[kp]); k < a->hi[kp]; k += BK) {
            int64_t nk = a->hi[kp] - k < BK ? a->hi[kp] - k : BK, used = 0;
            int64_t skip = from(0, lowest(a, a->qlo[kp], k), nk); // keys that no query sees, and that may be absent
            for (int p = kp; p < 2; p++) {
                int64_t q = p == kp && a->qlo[p] < k ? k : a->qlo[p], end = a->qhi[p];
                if (a->window && end > k + nk - 1 + a->window) end = k + nk - 1 + a->window;
                for (; q < end; q += BQ) {
                    if (ll_stopped(a->stop)) return;
                    if (!used) {
                        const float *kr = a->k + (k - a->k0) * a->ks, *vr = a->v + (k - a->k0) * a->ks;
                        int64_t last = a->qhi[kp]; // keys after the last query of their piece may be absent
                        if (p == kp && a->qhi[1] <= a->qlo[1] && k + nk > last) nk = last - k;
                        FN(columns)(b.kt, kr, a->ks, skip, nk, d);
                        FN(columns)(b.vt, vr, a->ks, skip, nk, d);
                        FN(rows)(b.kr, kr, a->ks, skip, nk, d);
                        memset(b.acc, 0, nk * dp * 4);
                        memset(b.acc2, 0, nk * dp * 4);
                        used = 1;
                    }
                    FN(bwd_block)(a, &b, k, nk, q, end - q < BQ ? end : q + BQ, p == kp ? q - k : NOT_CAUSAL);
                }
            }
            for (int64_t i = skip; used && i < nk; i++) {
                float *dk = a->dk + (k + i - a->k0) * a->ks, *dv = a->dv + (k + i - a->k0) * a->ks;
                for (int64_t j = 0; j < d; j++) dk[j] += b.acc[i * dp + j], dv[j] += b.acc2[i * dp + j];
            }
        }
}
