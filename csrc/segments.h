// The segment function of S2-Attn, for host and device: see package s2attn, whose arithmetic this repeats.
// A test holds the two equal.
#ifndef LONGLORA_SEGMENTS_H
#define LONGLORA_SEGMENTS_H

#include <stdint.h>

#ifdef __CUDACC__
#define LL_HD __host__ __device__
#else
#define LL_HD
#endif

enum { LL_FULL = 0, LL_SPLIT = 1, LL_ROLL = 2 };

typedef struct {
    int64_t lo, hi;
} ll_segment_t;

// The segment [lo, hi) of position p in a document of n tokens; group is G, window W of a sliding window or 0,
// shifted the class of the head.
static inline LL_HD ll_segment_t ll_segment(int mode, int64_t group, int64_t window, int64_t p, int64_t n,
                                            int shifted) {
    ll_segment_t s = {0, n};
    if (window > 0) {
        s.lo = p >= window ? p - window + 1 : 0;
        s.hi = window < n - p ? p + window : n;
        return s;
    }
    if (mode == LL_FULL) return s;
    int64_t half = shifted ? group / 2 : 0;
    if (p < half) {
        s.hi = half < n ? half : n;
        return s;
    }
    s.lo = half + (p - half) / group * group;
    s.hi = s.lo + group < n ? s.lo + group : n;
    return s;
}

// Whether the position's segment is the one that roll joins: [n - G/2, n) and then [0, G/2).
static inline LL_HD int ll_wraps(int mode, int64_t group, int64_t window, int64_t p, int64_t n, int shifted) {
    int64_t half = group / 2;
    return mode == LL_ROLL && window == 0 && shifted && (p < half || p >= n - half);
}

// Whether query head h of heads is shifted.
static inline LL_HD int ll_shifted(int h, int heads) { return h >= heads / 2; }

#endif
