// How the backward pass for Hopper lies in memory: its tiles of keys, its shared memory and barriers, its work memory.
//
// Shared memory of a block, head size 128; ds is (128 keys, 64 queries), out are two slots of each warpgroup:
//
//        0 KB     64 KB                 128 KB    144 KB                    208 KB
//        | k | v  | q 0 | q 1 | do 0 | do 1 | ds  | out 0.0 0.1 1.0 1.1 | stats, barriers, tiles |
//
// Barriers. A ring has a pair for each of its slots; "groups" are the two warpgroups that compute, of four warps each:
//
//   ring      slots  full: who arrives               who waits   empty: who arrives                       who waits
//   queries   2      the producer's 3 copies         groups      8 warps, when dk's product has read it   the producer
//   k, v      1      the producer's copy             groups      8 warps, after a tile's last step        the producer
//   ds        1      8 warps, when it is written     groups      8 warps, when dq's product has read it   groups
//   out       2 + 2  the group's 4 warps             its writer  its writer, when the copy has read it    the group
//   tiles     2      the producer                    all others  8 warps and 2 writers, after the tile    the producer
#ifndef LONGLORA_ATTN_BWD_SM90_CUH
#define LONGLORA_ATTN_BWD_SM90_CUH

#include "attn_sm90.cuh"

namespace sm90 {

constexpr int BQ = 64; // queries of a block

// A tile of keys of one key/value head, and the queries that see them.
struct Keys {
    int kv, first, last; // key/value head, -1 after the last tile; tokens of the first and last key
    int h0, heads;       // its first query head and their number
    int block, end[2];   // the first block of queries; the end of those of the plain and of the shifted heads

    __device__ __forceinline__ void put(volatile Keys *to) const {
        to->kv = kv, to->first = first, to->last = last, to->h0 = h0, to->heads = heads, to->block = block;
        to->end[0] = end[0], to->end[1] = end[1];
    }
};

__device__ __forceinline__ int key_blocks(const ll_attn_args &a) { return int(a.q0 + a.t - a.k0 + BM - 1) / BM; }

// Tile number `tile`, the last keys first; false where nothing sees its keys.
__device__ __forceinline__ bool keys_of(Keys *t, const ll_attn_args &a, int tile) {
    const int blocks = key_blocks(a), q0 = int(a.q0), end = q0 + int(a.t);
    t->kv = tile / blocks;
    t->heads = a.h / a.hkv;
    t->h0 = t->kv * t->heads;
    t->first = ll_first_key(a, t->kv) + (blocks - 1 - tile % blocks) * BM;
    if (t->first >= end) return false;
    t->last = min(t->first + BM, end) - 1;
    t->block = max(0, t->first - q0) / BQ;
    // heads of the class
    const bool has[2] = {!ll_shifted(t->h0, a.h), bool(ll_shifted(t->h0 + t->heads - 1, a.h))};
#pragma unroll
    for (int c = 0; c < 2; c++) t->end[c] = has[c] ? (min(end, ll_seg(a, t->last, c).hi) - q0 + BQ - 1) / BQ : 0;
    return max(t->end[0], t->end[1]) > t->block;
}

// A ring of two slots as one side sees it that has used n of them.
__device__ __forceinline__ int slot(int n) { return n % 2; }
__device__ __forceinline__ uint32_t parity(int n) { return n / 2 % 2; }

// What leaves shared memory does so in pieces (64,D/2) float32: a block's dq is one of each warpgroup, the dk and dv
// of a tile are two of each.
template <int D> constexpr int PIECE = 64 * D / 2;

template <int D> struct Shared {
    bf16 k[BM * D], v[BM * D];          // in panels, see sm90.cuh
    bf16 q[2][BQ * D], dout[2][BQ * D];
    bf16 ds[BM * BQ];
    float out[4][PIECE<D>];             // two slots of each warpgroup
    float stats[2][2][BQ];              // lse·log2(e) and delta of a block of queries
    RingBars<2> queries;
    RingBars<1> kbars, vbars, dsbars;
    RingBars<4> outbars;
    RingBars<2> tilebars;
    Keys tiles[2];
};
static_assert(sizeof(Shared<128>) == (144 + 64) * 1024 + 1024 + 22 * 8 + 64, "as drawn");
static_assert(sizeof(Shared<64>) == (80 + 32) * 1024 + 1024 + 22 * 8 + 64, "half of k, v, q, do and out");

// The same by its address.
template <int D> struct Places {
    using L = Shared<D>;
    uint32_t base;
    char *bytes; // what lies at base

    __device__ __forceinline__ explicit Places(char *raw)
        : base(aligned(raw)), bytes(raw + (aligned(raw) - shared_address(raw))) {}

    __device__ __forceinline__ uint32_t k() const { return base + offsetof(L, k); }
    __device__ __forceinline__ uint32_t v() const { return base + offsetof(L, v); }
    __device__ __forceinline__ uint32_t q(int n) const { return base + offsetof(L, q) + slot(n) * sizeof(L::q[0]); }
    __device__ __forceinline__ uint32_t dout(int n) const {
        return base + offsetof(L, dout) + slot(n) * sizeof(L::dout[0]);
    }
    __device__ __forceinline__ uint32_t ds() const { return base + offsetof(L, ds); }
    __device__ __forceinline__ uint32_t stats(int n) const {
        return base + offsetof(L, stats) + slot(n) * sizeof(L::stats[0]);
    }
    __device__ __forceinline__ uint32_t out(int wg, int n) const {
        return base + offsetof(L, out) + (2 * wg + slot(n)) * sizeof(L::out[0]);
    }
    __device__ __forceinline__ Ring<2> queries() const { return {base + uint32_t(offsetof(L, queries))}; }
    __device__ __forceinline__ Ring<1> ks() const { return {base + uint32_t(offsetof(L, kbars))}; }
    __device__ __forceinline__ Ring<1> vs() const { return {base + uint32_t(offsetof(L, vbars))}; }
    __device__ __forceinline__ Ring<1> dss() const { return {base + uint32_t(offsetof(L, dsbars))}; }
    __device__ __forceinline__ Ring<4> outs() const { return {base + uint32_t(offsetof(L, outbars))}; }
    __device__ __forceinline__ Bar out_full(int wg, int n) const { return outs().full(2 * wg + slot(n)); }
    __device__ __forceinline__ Bar out_empty(int wg, int n) const { return outs().empty(2 * wg + slot(n)); }
    __device__ __forceinline__ Ring<2> tiles() const { return {base + uint32_t(offsetof(L, tilebars))}; }
    // Which tile is the m-th; and a block's statistics to be read: lse, and delta BQ on.
    __device__ __forceinline__ volatile Keys &tile(int m) const {
        return reinterpret_cast<Keys *>(bytes + offsetof(L, tiles))[slot(m)];
    }
    __device__ __forceinline__ const float *stats_at(int n) const {
        return reinterpret_cast<const float *>(bytes + offsetof(L, stats)) + slot(n) * 2 * BQ;
    }

    __device__ __forceinline__ void init() const {
        queries().init(3, WARPS);
        ks().init(1, WARPS);
        vs().init(1, WARPS);
        dss().init(WARPS, WARPS);
        outs().init(WARPS / 2, 1);
        tiles().init(1, WARPS + 2);
        bars_done();
    }
};

// The work memory: a ticket; how many tiles of keys have added to each piece of dq, and these pieces, as the threads
// hold them; lse·log2(e) and delta of every query, (2,H,stride).
struct Work {
    int *ticket, *added;
    float *dq, *stats;
    int blocks, stride; // of queries; between heads
    int64_t zeroed, bytes;
};

__host__ __device__ inline Work work_of(const ll_attn_args &a) {
    Work w;
    w.blocks = int(a.t + BQ - 1) / BQ;
    w.stride = int(a.t + 3) / 4 * 4;
    const int64_t pieces = int64_t(2) * w.blocks * a.h, dq = pieces * BQ * a.d / 2 * 4;
    char *const p = static_cast<char *>(a.work);
    w.zeroed = 256 + (4 * pieces + 255) / 256 * 256;
    w.ticket = reinterpret_cast<int *>(p);
    w.added = reinterpret_cast<int *>(p + 256);
    w.dq = reinterpret_cast<float *>(p + w.zeroed);
    w.stats = reinterpret_cast<float *>(p + w.zeroed + dq);
    w.bytes = w.zeroed + dq + int64_t(8) * a.h * w.stride;
    return w;
}

// Whether whole heads are turned back here; parts of heads are outside.
template <int D> __device__ __forceinline__ bool turns(const ll_attn_args &a) { return a.turn && a.r == D; }

// Turns back what a thread holds of two rows, tokens first and second of the tile: columns col, col+1 of every 8 of the
// first half of the channels, x, and of the second, y.
template <int D>
__device__ __forceinline__ void turn_back(float (&x)[D / 4], float (&y)[D / 4], const ll_attn_args &a, int first,
                                          int second, int col) {
#pragma unroll
    for (int i = 0; i < D / 4; i += 2) {
        const float *const cs = a.turn + int64_t(i % 4 ? second : first) * D + col + i / 4 * 8;
        const float2 c = *reinterpret_cast<const float2 *>(cs), s = *reinterpret_cast<const float2 *>(cs + D / 2);
        const float2 u = {x[i], x[i + 1]}, v = {y[i], y[i + 1]};
        x[i] = u.x * c.x + v.x * s.x, x[i + 1] = u.y * c.y + v.y * s.y;
        y[i] = v.x * c.x - u.x * s.x, y[i + 1] = v.y * c.y - u.y * s.y;
    }
}

} // namespace sm90

#endif
