// Attention of one query, as generating has it: keys and values are read once, and how fast that goes is all that
// counts. The keys that the query sees are divided into splits, so that there are blocks enough (Flash-Decoding; the
// partial softmaxes join as in arXiv 2307.08691, sec. 3.1). A block takes one split of a key/value head, for up to
// eight of the query heads that share it; a second kernel joins the splits in their order.
//
// A warp takes 16 keys at a time, straight from global memory into registers as fragments of products m16n8k16
// (mma.cuh has their layout). Queries are the 8 columns, most of them zeros where no heads share keys: the tensor cores
// have nothing else to do.
//
//   scores (16 keys, 8 heads) = K · qᵀ. In which order channels are summed up does not matter, as long as it is
//     the same in K and q: a lane takes 8 neighbouring channels of a key, 16 bytes, as those of two products.
//   values (16 channels, 8 heads) += Vᵀ · p. A lane takes 8 neighbouring channels of four keys and puts those of two
//     keys side by side; a product's rows g and g+8 are channels 2i and 2i+1 of lane group g.
#include "attn.cuh"
#include "mma.cuh"

namespace {

constexpr int WARPS = 4, THREADS = WARPS * 32;
constexpr int KEYS = 16;   // of a warp at a time
constexpr int HEADS = 8;   // query heads of a block
constexpr int SPLITS = 128; // at most

// What a split leaves of a head: sums of values under its greatest score in out (H,splits,D), and that score, as a
// power of two, and the sum of exponentials in stat (H,splits).
struct Partial {
    float *out;
    float2 *stat;
    int splits, span; // of so many keys each, the last ones perhaps of fewer or none

    __device__ __forceinline__ int at(int head, int split) const { return head * splits + split; }
};

__device__ __forceinline__ uint4 load16(const bf16 *p) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return x;
}

// The transpose of an 8x8 matrix of bf16: a lane has two neighbours of row lane/4.
__device__ __forceinline__ uint32_t transposed(uint32_t x) {
    uint32_t y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

// Over the lanes that hold the same two heads.
__device__ __forceinline__ float column_max(float x) {
#pragma unroll
    for (int m = 4; m < 32; m *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, m));
    return x;
}
__device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int m = 4; m < 32; m *= 2) x += __shfl_xor_sync(~0u, x, m);
    return x;
}

// A warp and what it knows of its block. NC: the head size in 64s, rounded up; EXACT: it is NC·64.
template <int NC, bool EXACT> struct Warp {
    static constexpr int C = NC * 64;

    const ll_attn_args &a;
    const int kv, head0, heads; // the key/value head, its first query head here, and how many
    const int lane, g, t;       // lane/4 and lane%4, as fragments have it
    const float unit;           // exp(score) = 2^(unit·x)
    uint32_t q[2 * NC][4];      // queries of head g: channels 32i + 8t …
    float o[NC][4][4];          // channels 64c + 8g + 2i, heads 2t and 2t+1; then the next channel
    float m[2], l[2];           // of heads 2t and 2t+1: the greatest score so far; this lane's part of the sum

    __device__ __forceinline__ Warp(const ll_attn_args &a, int kv, int head0)
        : a(a), kv(kv), head0(head0), heads(min(HEADS, (kv + 1) * (a.h / a.hkv) - head0)), lane(threadIdx.x & 31),
          g(lane >> 2), t(lane & 3), unit((a.cap > 0 ? a.cap : a.scale) * LOG2E) {
        const bf16 *p = (const bf16 *)a.q + (int64_t)(head0 + g) * d();
#pragma unroll
        for (int i = 0; i < 2 * NC; i++) {
            uint4 x = {0, 0, 0, 0};
            if (g < heads && has(i * 32 + t * 8)) x = *(const uint4 *)(p + i * 32 + t * 8);
            q[i][0] = x.x, q[i][1] = x.y, q[i][2] = x.z, q[i][3] = x.w;
        }
        ll_zero(o);
        m[0] = m[1] = -CUDART_INF_F, l[0] = l[1] = 0;
    }

    __device__ __forceinline__ int d() const { return EXACT ? C : a.d; }
    __device__ __forceinline__ bool has(int channel) const { return EXACT || channel < a.d; }
    // 8 channels of a key or value; zeros past the head.
    __device__ __forceinline__ uint4 row(const void *x, int key, int channel) const {
        const bf16 *p = (const bf16 *)x + (int64_t)(key - (int)a.k0) * (a.hkv * d()) + kv * d() + channel;
        return has(channel) ? load16(p) : uint4{0, 0, 0, 0};
    }

    // Takes the keys [key, key+16) of those before end, of which there is one. In place of others it reads the last.
    __device__ __forceinline__ void take(int key, int end) {
        uint4 k[2 * NC][2], v[NC][4];
#pragma unroll
        for (int i = 0; i < 2 * NC; i++)
#pragma unroll
            for (int r = 0; r < 2; r++) k[i][r] = row(a.k, min(key + g + r * 8, end - 1), i * 32 + t * 8);
#pragma unroll
        for (int c = 0; c < NC; c++)
#pragma unroll
            for (int r = 0; r < 4; r++)
                v[c][r] = row(a.v, min(key + t * 2 + r % 2 + r / 2 * 8, end - 1), c * 64 + g * 8);
        float s[2][4] = {}; // two sums, since each product waits for the one before
#pragma unroll
        for (int i = 0; i < 2 * NC; i++) {
            const uint4 &x = k[i][0], &y = k[i][1];
            ll_mma(s[0], {x.x, y.x, x.y, y.y}, q[i][0], q[i][1]);
            ll_mma(s[1], {x.z, y.z, x.w, y.w}, q[i][2], q[i][3]);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float x = s[0][e] + s[1][e];
            if (a.cap > 0) x = ll_tanh(x * __fdividef(a.scale, a.cap));
            s[0][e] = key + g + e / 2 * 8 < end ? x * unit : -CUDART_INF_F;
        }
        softmax(s[0]);
        const uint32_t p0 = transposed(ll_pack(s[0][0], s[0][1])), p1 = transposed(ll_pack(s[0][2], s[0][3]));
#pragma unroll
        for (int c = 0; c < NC; c++) {
            const uint32_t(*x)[4] = (const uint32_t(*)[4])v[c];
#pragma unroll
            for (int i = 0; i < 4; i++)
                ll_mma(o[c][i],
                       {__byte_perm(x[0][i], x[1][i], 0x5410), __byte_perm(x[0][i], x[1][i], 0x7632),
                        __byte_perm(x[2][i], x[3][i], 0x5410), __byte_perm(x[2][i], x[3][i], 0x7632)},
                       p0, p1);
        }
    }

    // Turns scores into exponentials under the greatest so far.
    __device__ __forceinline__ void softmax(float (&s)[4]) {
        float top[2];
#pragma unroll
        for (int j = 0; j < 2; j++) top[j] = fmaxf(m[j], column_max(fmaxf(s[j], s[j + 2])));
        if (__any_sync(~0u, top[0] > m[0] || top[1] > m[1])) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const float old = ll_exp2(m[j] - top[j]);
                m[j] = top[j], l[j] *= old;
#pragma unroll
                for (int i = 0; i < NC * 4; i++) o[i / 4][i % 4][j] *= old, o[i / 4][i % 4][j + 2] *= old;
            }
        }
#pragma unroll
        for (int e = 0; e < 4; e++) l[e % 2] += s[e] = ll_exp2(s[e] - m[e % 2]);
    }
};

template <int NC> struct Shared {
    float2 stat[WARPS][HEADS];
    float o[WARPS][HEADS][NC * 64];
};

template <int NC, bool EXACT>
__global__ void __launch_bounds__(THREADS, NC <= 2 ? 3 : 2)
attn_decode(const __grid_constant__ ll_attn_args a, const Partial part) {
    __shared__ Shared<NC> x;
    ll_next();
    ll_after();
    const int group = a.h / a.hkv, parts = (group + HEADS - 1) / HEADS, kv = blockIdx.x / parts, split = blockIdx.y;
    const ll_range seen = ll_keys(a, (int)a.q0, (int)a.q0 + 1, 0); // no segments: the same for all heads
    const int begin = seen.lo + split * part.span, end = min(begin + part.span, seen.hi);
    if (begin >= end) return;
    Warp<NC, EXACT> w(a, kv, kv * group + blockIdx.x % parts * HEADS);
    const int warp = threadIdx.x >> 5;
    for (int key = begin + warp * KEYS; key < end; key += WARPS * KEYS) w.take(key, end);
#pragma unroll
    for (int j = 0; j < 2; j++) {
        w.l[j] = column_sum(w.l[j]);
        const int h = w.t * 2 + j;
        if (w.g == 0) x.stat[warp][h] = {w.m[j], w.l[j]};
        if (h < w.heads)
#pragma unroll
            for (int c = 0; c < NC; c++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    *(float2 *)&x.o[warp][h][c * 64 + w.g * 8 + i * 2] = {w.o[c][i][j], w.o[c][i][j + 2]};
    }
    __syncthreads();
    for (int e = threadIdx.x; e < w.heads * w.d(); e += THREADS) {
        const int h = e / w.d(), c = e % w.d();
        float top = x.stat[0][h].x, sum = 0, l = 0; // the first warp has keys
#pragma unroll
        for (int i = 1; i < WARPS; i++) top = fmaxf(top, x.stat[i][h].x);
#pragma unroll
        for (int i = 0; i < WARPS; i++) {
            const float f = ll_exp2(x.stat[i][h].x - top);
            sum += f * x.o[i][h][c], l += f * x.stat[i][h].y;
        }
        const int64_t at = part.at(w.head0 + h, split);
        part.out[at * w.d() + c] = sum;
        if (c == 0) part.stat[at] = {top, l};
    }
}

// One block a head, one thread a channel.
__global__ void attn_join(const __grid_constant__ ll_attn_args a, const Partial part) {
    __shared__ float2 stat[SPLITS];
    ll_next();
    ll_after();
    const int head = blockIdx.x, c = threadIdx.x;
    const ll_range seen = ll_keys(a, (int)a.q0, (int)a.q0 + 1, 0);
    const int n = (seen.hi - seen.lo + part.span - 1) / part.span;
    for (int i = c; i < n; i += blockDim.x) stat[i] = part.stat[part.at(head, i)];
    __syncthreads();
    float top = stat[0].x, sum = 0, l = 0;
    for (int i = 1; i < n; i++) top = fmaxf(top, stat[i].x);
    const float *p = part.out + (int64_t)part.at(head, 0) * a.d + c;
    if (c < a.d) {
#pragma unroll 8
        for (int i = 0; i < n; i++) {
            const float f = ll_exp2(stat[i].x - top);
            sum += f * p[(int64_t)i * a.d], l += f * stat[i].y;
        }
        ((bf16 *)a.o)[head * a.d + c] = __float2bfloat16_rn(sum / l);
    }
    if (c == 0) a.lse[head] = top / LOG2E + logf(l);
}

// How the keys are divided, without the places: so that the device runs all blocks at once.
Partial divided(const ll_device *d, const ll_attn_args *a) {
    int64_t keys = a->q0 + 1 - a->k0;
    if (a->window && a->window < keys) keys = a->window;
    const int64_t group = a->h / a->hkv, blocks = (group + HEADS - 1) / HEADS * a->hkv;
    const int64_t want = (int64_t)d->multiprocessors * (a->d <= 128 ? 3 : 2) / blocks, one = WARPS * KEYS;
    int64_t n = (keys + one - 1) / one;
    if (n > want) n = want;
    if (n > SPLITS) n = SPLITS;
    if (n < 1) n = 1;
    Partial p = {};
    p.span = int((keys + n - 1) / n + one - 1) / one * one;
    p.splits = int((keys + p.span - 1) / p.span);
    return p;
}

template <int NC, bool EXACT> int launch(const ll_device *d, cudaStream_t s, const ll_attn_args &a, const Partial &p) {
    const int group = a.h / a.hkv;
    const dim3 blocks((group + HEADS - 1) / HEADS * a.hkv, p.splits);
    if (const int e = ll_launch_early(d, attn_decode<NC, EXACT>, blocks, THREADS, s, a, p)) return e;
    return ll_launch_early(d, attn_join, a.h, (a.d + 31) / 32 * 32, s, a, p);
}

} // namespace

bool ll_attn_decodes(const ll_attn_args *a) {
    const uintptr_t all = (uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v;
    return a->t == 1 && (a->mode == LL_FULL || a->window) && a->d % 8 == 0 && all % 16 == 0;
}

size_t ll_attn_decode_work(const ll_device *d, const ll_attn_args *a) {
    return (size_t)a->h * divided(d, a).splits * (a->d + 2) * sizeof(float);
}

int ll_attn_decode(const ll_device *d, cudaStream_t s, const ll_attn_args *a) {
    Partial p = divided(d, a);
    p.stat = (float2 *)a->work;
    p.out = (float *)(p.stat + (int64_t)a->h * p.splits);
    switch (a->d) {
    case 64: return launch<1, true>(d, s, *a, p);
    case 128: return launch<2, true>(d, s, *a, p);
    case 256: return launch<4, true>(d, s, *a, p);
    }
    if (a->d < 64) return launch<1, false>(d, s, *a, p);
    if (a->d < 128) return launch<2, false>(d, s, *a, p);
    return launch<4, false>(d, s, *a, p);
}
