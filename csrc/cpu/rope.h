// Rotary position embedding: ops.Rotary.

// One token's heads of d channels, r of which are turned: cs holds r/2 cosines and r/2 sines.
static void FN(rope_token)(float *dst, const float *src, const float *cs, int64_t heads, int64_t d, int64_t r,
                           float sign) {
    int64_t e = r / 2;
    for (int64_t h = 0; h < heads; h++, dst += d, src += d) {
        if (r < d && dst != src) memcpy(dst + r, src + r, (d - r) * 4);
        for (int64_t i = 0; i < e; i++) {
            float a = src[i], b = src[i + e], c = cs[i], s = sign * cs[i + e];
            dst[i] = a * c - b * s;
            dst[i + e] = b * c + a * s;
        }
    }
}

void FN(rope)(const ll_rope_t *a) {
    for (int64_t t = 0, row = a->heads * a->d; t < a->n; t++)
        FN(rope_token)(a->dst + t * row, a->src + t * row, a->cs + t * a->r, a->heads, a->d, a->r, a->sign);
}
