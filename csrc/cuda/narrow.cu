// Products with few columns, as LoRA's factors have them, all that one matrix takes part in by a single pass over it:
// y = x·p, whose sum is along the rows of x (T,C), and g += xᵀ·s, whose sum is down its columns. Reading x is what they
// cost: cuBLASLt reads it once for each.
//
// A block takes a chunk of 1024 columns and a part of the rows, in steps of 16; of a step each of its 8 warps has 128
// columns, which it copies to shared memory of its own beside the step before, and multiplies by tensor core. Up to 32
// columns of p and s, in tiles of 8, stand side by side. Sums over the chunks, of y, and over the parts, of g, are made
// by kernels of their own in a fixed order.
#include "device.cuh"

namespace ll {

constexpr int NARROW_WARPS = 8, NARROW_THREADS = NARROW_WARPS * WARP;
constexpr int NARROW_STEP = 16;                           // rows
constexpr int NARROW_COLS = 128;                          // of a warp
constexpr int NARROW_CHUNK = NARROW_WARPS * NARROW_COLS;  // of a block
constexpr int NARROW_TILES = 4;                           // of 8 columns of p and s, at most
constexpr int64_t NARROW_ROOM = 16 << 20;                 // bytes of y's sums at most; more rows take turns

// Eight columns of a factor.
struct NarrowTile {
    const bf16 *p; // its first element: of row 0 of (C,ldp), or of its first row of (R,C)
    bf16 *y;       // (T,ldy)
    const bf16 *s; // (T,lds)
    float *g;      // as p
    int ld, ldy, lds;
};

struct NarrowArgs {
    const bf16 *x;
    NarrowTile tile[NARROW_TILES];
    float *ys, *gs; // (chunks,T,8·tiles) and (parts,tiles,C,8), sums to be added up
    int64_t t;
    int c, steps;   // of 16 rows in a part
    bool wide;      // p and g are (R,C)
    float scale;
};

__device__ __forceinline__ uint32_t shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Copies 16 bytes to shared memory, or zeros.
__device__ __forceinline__ void copy16(uint32_t to, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// d (16,8) += a (16,16) · b (16,8)
__device__ __forceinline__ void mma16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// What a warp has of a step: 16 rows of x in 16-byte pieces, piece i of row r at i^(r%8), and of s.
template <int N, bool G> struct NarrowStage {
    uint4 x[NARROW_STEP][NARROW_COLS / 8];
    uint4 s[G ? N : 0][NARROW_STEP];
};
template <int N> struct NarrowStage<N, false> {
    uint4 x[NARROW_STEP][NARROW_COLS / 8];
};

template <int N, bool Y, bool G> struct NarrowShared {
    NarrowStage<N, G> stage[2][NARROW_WARPS];
    float sum[Y ? 2 : 1][Y ? NARROW_WARPS : 1][Y ? N * NARROW_STEP * 8 : 1]; // by warp: (tile,row,column)
};

// Starts the copies of the step from row t on. The warp's lanes take two rows of x at a time.
template <int N, bool G>
__device__ __forceinline__ void narrow_copy(NarrowStage<N, G> &to, const NarrowArgs &a, int64_t t, int col) {
    const int lane = threadIdx.x % WARP, half = lane / 16, piece = lane % 16;
    const bool mine = col + piece * 8 < a.c;
    const int rows = mine ? (int)(a.t - t < NARROW_STEP ? a.t - t : NARROW_STEP) : 0;
    const bf16 *from = a.x + (mine ? (t + half) * a.c + col + piece * 8 : 0);
#pragma unroll
    for (int i = 0, r = half; i < NARROW_STEP / 2; i++, r += 2, from += 2 * (int64_t)a.c)
        copy16(shared_at(&to.x[r][piece ^ r % 8]), r < rows ? from : a.x, r < rows);
    if constexpr (G)
#pragma unroll
        for (int j = 0; j < N; j++)
            if (lane < NARROW_STEP) {
                const bool there = t + lane < a.t;
                copy16(shared_at(&to.s[j][lane]), a.tile[j].s + (there ? (t + lane) * a.tile[j].lds : 0), there);
            }
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// The warp's 128 rows of p, as the second operand: of 16 of them each.
template <int N>
__device__ __forceinline__ void narrow_factor(uint32_t (&p)[N][NARROW_COLS / 16][2], const NarrowArgs &a, int col) {
    const int lane = threadIdx.x % WARP, n = lane / 4;
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < NARROW_COLS / 8; i++) {
            const int k = col + i * 8 + lane % 4 * 2;
            const bf16 *const from = a.tile[j].p + (a.wide ? (int64_t)n * a.c + k : (int64_t)k * a.tile[j].ld + n);
            __nv_bfloat162 v{};
            if (k < a.c) v.x = from[0], v.y = from[a.wide ? 1 : a.tile[j].ld];
            p[j][i / 2][i % 2] = *(const uint32_t *)&v;
        }
}

// Y: y is wanted. G: g is.
template <int N, bool Y, bool G>
__global__ void __launch_bounds__(NARROW_THREADS, (Y * 16 + G * 32) * N <= 96 ? 2 : 1)
narrow_kernel(const __grid_constant__ NarrowArgs a) {
    extern __shared__ __align__(16) char raw[];
    NarrowShared<N, Y, G> &shared = *(NarrowShared<N, Y, G> *)raw;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int col = blockIdx.x * NARROW_CHUNK + warp * NARROW_COLS;
    const int64_t first = (int64_t)blockIdx.y * a.steps * NARROW_STEP;
    const int64_t rest = (a.t - first + NARROW_STEP - 1) / NARROW_STEP;
    const int steps = (int)(rest < a.steps ? rest : a.steps);
    uint32_t p[Y ? N : 1][NARROW_COLS / 16][2];
    float g[G ? N : 1][NARROW_COLS / 16][4];
    if constexpr (Y) narrow_factor<N>(p, a, col);
#pragma unroll
    for (int i = 0; i < (G ? N : 1) * NARROW_COLS / 4; i++) (&g[0][0][0])[i] = 0;
    if (steps > 0) narrow_copy<N, G>(shared.stage[0][warp], a, first, col);
    for (int m = 0; m < steps; m++) {
        const int64_t t = first + (int64_t)m * NARROW_STEP;
        const auto &stage = shared.stage[m % 2][warp];
        if (m + 1 < steps) {
            narrow_copy<N, G>(shared.stage[(m + 1) % 2][warp], a, t + NARROW_STEP, col);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncwarp();
        uint32_t s[N][2];
        float y[N][4];
#pragma unroll
        for (int j = 0; j < N; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) y[j][i] = 0;
            if constexpr (G)
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                             : "=r"(s[j][0]), "=r"(s[j][1])
                             : "r"(shared_at(&stage.s[j][lane % 16]))
                             : "memory");
        }
        const int r = lane % 16;
#pragma unroll
        for (int i = 0; i < NARROW_COLS / 16; i++) {
            const uint32_t at = shared_at(&stage.x[r][(2 * i + lane / 16) ^ r % 8]);
            uint32_t x[4];
            if constexpr (Y) {
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                             : "r"(at)
                             : "memory");
#pragma unroll
                for (int j = 0; j < N; j++) mma16(y[j], x, p[j][i]);
            }
            if constexpr (G) { // turned, rows of x are k: blocks of 8 come as k, k+8, both of columns 0, then 8
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(x[0]), "=r"(x[2]), "=r"(x[1]), "=r"(x[3])
                             : "r"(at)
                             : "memory");
#pragma unroll
                for (int j = 0; j < N; j++) mma16(g[j][i], x, s[j]);
            }
        }
        if constexpr (Y) {
            constexpr int OUT = N * NARROW_STEP * 8;
            auto &sum = shared.sum[m % 2];
#pragma unroll
            for (int j = 0; j < N; j++) {
                float *const to = sum[warp] + (j * NARROW_STEP + lane / 4) * 8 + lane % 4 * 2;
                *(float2 *)to = make_float2(y[j][0], y[j][1]);
                *(float2 *)(to + 8 * 8) = make_float2(y[j][2], y[j][3]);
            }
            __syncthreads();
            for (int i = threadIdx.x; i < OUT; i += NARROW_THREADS) {
                float v = 0;
#pragma unroll
                for (int w = 0; w < NARROW_WARPS; w++) v += sum[w][i];
                const int j = i / (NARROW_STEP * 8), row = i / 8 % NARROW_STEP;
                if (t + row < a.t) a.ys[(blockIdx.x * a.t + t + row) * (8 * N) + j * 8 + i % 8] = v;
            }
        }
        __syncwarp();
    }
    if constexpr (G)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < NARROW_COLS / 16; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const int k = col + i * 16 + h * 8 + lane / 4;
                    float *const to = a.gs + (((int64_t)blockIdx.y * N + j) * a.c + k) * 8 + lane % 4 * 2;
                    if (k < a.c) *(float2 *)to = make_float2(g[j][i][2 * h], g[j][i][2 * h + 1]);
                }
}

// y = scale · the sum over the chunks, a thread a row of a tile.
template <int N> __global__ void __launch_bounds__(FLAT_THREADS) narrow_y_kernel(NarrowArgs a, int chunks) {
    const int64_t i = (int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x, t = i / N;
    const int j = (int)(i % N);
    if (t >= a.t) return;
    float v[GROUP], sum[GROUP];
    load8<true>(sum, a.ys + i * 8);
    for (int k = 1; k < chunks; k++) {
        load8<true>(v, a.ys + ((int64_t)k * a.t * N + i) * 8);
#pragma unroll
        for (int e = 0; e < GROUP; e++) sum[e] += v[e];
    }
#pragma unroll
    for (int e = 0; e < GROUP; e++) sum[e] *= a.scale;
    store8<true>(a.tile[j].y + t * a.tile[j].ldy, sum);
}

// g += scale · the sum over the parts. A block has 32 times 4 numbers: thread (i,j) adds up those of parts j, j+8, …
__global__ void __launch_bounds__(256) narrow_g_kernel(NarrowArgs a, int tiles, int parts) {
    __shared__ float4 shared[8][32];
    const int64_t i = (int64_t)blockIdx.x * 32 + threadIdx.x, all = (int64_t)tiles * a.c * 2; // float4s
    float4 s = make_float4(0, 0, 0, 0);
    const auto add = [&](float4 v) { s.x += v.x, s.y += v.y, s.z += v.z, s.w += v.w; };
    if (i < all)
        for (int b = threadIdx.y; b < parts; b += 8) add(((const float4 *)a.gs)[b * all + i]);
    shared[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y || i >= all) return;
    for (int j = 1; j < 8; j++) add(shared[j][threadIdx.x]);
    const int64_t k = i / 2 % a.c;
    const NarrowTile &tile = a.tile[i / 2 / a.c];
    const float v[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const int64_t n = i % 2 * 4 + e;
        tile.g[a.wide ? n * a.c + k : k * tile.ld + n] += a.scale * v[e];
    }
}

static int64_t narrow_chunks(int64_t c) { return ceil_div(c, NARROW_CHUNK); }

// Rows that are done at once.
static int64_t narrow_rows(int64_t t, int64_t c, int64_t tiles) {
    const int64_t most = NARROW_ROOM / (narrow_chunks(c) * tiles * 32) / NARROW_STEP * NARROW_STEP;
    return t < most ? t : most;
}

template <int N, bool Y, bool G> static int narrow(const ll_device *d, NarrowArgs a, cudaStream_t s) {
    using Shared = NarrowShared<N, Y, G>;
    const auto kernel = narrow_kernel<N, Y, G>;
    const int e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
    if (e) return e;
    const int chunks = (int)narrow_chunks(a.c), at_once = (Y * 16 + G * 32) * N <= 96 ? 2 : 1;
    const int64_t steps = ceil_div(a.t, NARROW_STEP), room = at_once * d->multiprocessors / chunks;
    a.steps = (int)ceil_div(steps, room > 1 ? room : 1);
    const int parts = (int)ceil_div(steps, a.steps);
    kernel<<<dim3(chunks, parts), NARROW_THREADS, sizeof(Shared), s>>>(a);
    if (Y) narrow_y_kernel<N><<<(unsigned)ceil_div(a.t * N, FLAT_THREADS), FLAT_THREADS, 0, s>>>(a, chunks);
    if (G) narrow_g_kernel<<<(unsigned)ceil_div((int64_t)N * a.c * 2, 32), dim3(32, 8), 0, s>>>(a, N, parts);
    return launched();
}

template <int N> static int narrow(const ll_device *d, const NarrowArgs &a, cudaStream_t s) {
    if (!a.tile[0].g) return narrow<N, true, false>(d, a, s);
    if (!a.tile[0].y) return narrow<N, false, true>(d, a, s);
    return narrow<N, true, true>(d, a, s);
}

} // namespace ll

extern "C" size_t ll_narrow_work(const ll_device *d, int64_t t, int64_t c, int64_t r) {
    using namespace ll;
    const int64_t sums = narrow_chunks(c) * narrow_rows(t, c, r / 8) * r, parts = 2 * d->multiprocessors;
    return (size_t)(sums + parts * NARROW_CHUNK * r) * sizeof(float);
}

extern "C" int ll_narrow(ll_device *d, ll_stream s, const ll_narrow_args *a) {
    using namespace ll;
    NarrowArgs b{};
    int tiles = 0;
    for (int i = 0; i < a->n; i++) {
        const ll_narrow_factor &f = a->factor[i];
        if (f.r <= 0 || f.r % 8) return cudaErrorInvalidValue;
        for (int64_t r = 0; r < f.r; r += 8, tiles++) {
            if (tiles == NARROW_TILES) return cudaErrorInvalidValue;
            const int64_t at = a->wide ? r * a->c : r;
            b.tile[tiles] = {f.p ? (const bf16 *)f.p + at : nullptr, f.y ? (bf16 *)f.y + r : nullptr,
                             f.s ? (const bf16 *)f.s + r : nullptr, f.g ? f.g + at : nullptr, (int)f.r, (int)f.ldy,
                             (int)f.lds};
        }
    }
    if (a->t <= 0 || a->c <= 0 || !tiles) return cudaSuccess;
    if (a->c % 8 || a->c > INT32_MAX) return cudaErrorInvalidValue;
    const int64_t rows = narrow_rows(a->t, a->c, tiles);
    b.c = (int)a->c, b.wide = a->wide != 0, b.scale = a->scale;
    b.ys = (float *)a->work, b.gs = b.ys + narrow_chunks(a->c) * rows * tiles * 8;
    for (int64_t lo = 0; lo < a->t; lo += rows) {
        NarrowArgs c = b;
        c.x = (const bf16 *)a->x + lo * a->c, c.t = a->t - lo < rows ? a->t - lo : rows;
        for (int j = 0; j < tiles; j++) {
            if (c.tile[j].y) c.tile[j].y += lo * c.tile[j].ldy;
            if (c.tile[j].s) c.tile[j].s += lo * c.tile[j].lds;
        }
        const cudaStream_t stream = (cudaStream_t)s;
        const int e = tiles == 1 ? narrow<1>(d, c, stream) : tiles == 2 ? narrow<2>(d, c, stream)
                    : tiles == 3 ? narrow<3>(d, c, stream) : narrow<4>(d, c, stream);
        if (e) return e;
    }
    return cudaSuccess;
}
