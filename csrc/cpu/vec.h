// The kernels, written once on the compiler's vectors of VL floats and built for each instruction set.
#include <math.h>
#include <string.h>
#if VL > 4
#include <immintrin.h>
#endif

#include "kernels.h"

typedef float V __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t VI __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#define NR (2 * VL) // columns of a micro-tile
#define INLINE static inline __attribute__((always_inline))

INLINE V vset(float x) { return x - (V){0}; }
INLINE V vload(const float *p) { return *(const V *)p; }
INLINE void vstore(float *p, V x) { *(V *)p = x; }
INLINE V vsel(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }
INLINE V vmax(V a, V b) { return vsel(a > b, a, b); }

INLINE float vsum(V x) {
    float s = 0;
    for (int w = VL / 2; w >= 1; w /= 2)
        for (int i = 0; i < w; i++) x[i] += x[i + w];
    s = x[0];
    return s;
}

// e^x to about 1 ulp: 2^n · e^r with |r| <= ln2/2. Below -87.3 the result is 0, above 88.7 infinite; NaN stays.
INLINE V vexp(V x) {
    const V magic = vset(12582912.0f); // 1.5·2^23: adding it rounds to an integer
    V c = vsel(x < vset(-87.33654f), vset(-87.33654f), x);
    c = vsel(c > vset(88.72f), vset(88.72f), c);
    V n = c * vset(1.44269504f) + magic;
    VI e = (VI)n << 23;
    n -= magic;
    V r = c - n * vset(0.693145752f);
    r -= n * vset(1.42860677e-6f);
    V p = vset(1.98756915e-4f);
    p = p * r + vset(1.39819995e-3f);
    p = p * r + vset(8.33345191e-3f);
    p = p * r + vset(4.16657959e-2f);
    p = p * r + vset(1.66666655e-1f);
    p = p * r + vset(5.00000012e-1f);
    p = p * (r * r) + r + vset(1.0f);
    V y = (V)((VI)p + e);
    y = vsel(x < vset(-87.33654f), vset(0.0f), y);
    y = vsel(x > vset(88.72f), vset(INFINITY), y);
    return vsel(x != x, x, y);
}

// tanh to a few ulp: its series near 0, elsewhere 1 - 2/(e^2x + 1).
INLINE V vtanh(V x) {
    V y = x * x;
    V near = x + x * y * (vset(-1.0f / 3) + y * (vset(2.0f / 15) + y * vset(-17.0f / 315)));
    return vsel(y < vset(0.04f), near, vset(1) - vset(2) / (vexp(x + x) + vset(1)));
}

// Loads and stores of the last n < VL floats of a row.
INLINE V vpart(const float *p, int64_t n, float fill) {
    float t[VL];
    for (int i = 0; i < VL; i++) t[i] = i < n ? p[i] : fill;
    return vload(t);
}
INLINE void vpartstore(float *p, V x, int64_t n) {
    for (int i = 0; i < n; i++) p[i] = x[i];
}

#include "linear.h"
#include "attn.h" // with linear.h's micro-tiles
#include "adamw.h"
#include "drop.h"
#include "gelu.h"
#include "layernorm.h"
#include "loss.h"
#include "rms.h"
#include "rope.h"
#include "scale.h"
#include "swiglu.h"
