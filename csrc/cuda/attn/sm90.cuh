// Thin wrappers of Hopper's own instructions (PTX ISA 8.0, sm_90a): the bulk tensor copy, transaction barriers
// in shared memory, and the warpgroup's matrix product. Shared memory is addressed by 32-bit offsets.
#ifndef LONGLORA_SM90_CUH
#define LONGLORA_SM90_CUH

#include "common.cuh"

namespace sm90 {

// ---- barriers -----------------------------------------------------------------------------------------

// A barrier in shared memory, by its address. A phase of it ends when all that it was initialised for have arrived
// and all bytes that were announced are there.
struct Bar {
    uint32_t at;

    __device__ __forceinline__ void init(int arrivals) const {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
    }
    __device__ __forceinline__ void arrive() const {
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
    }
    // Arrives and announces bytes that the copy engine will write.
    __device__ __forceinline__ void expect(int bytes) const {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
    }
    // Waits until the phase of that parity has ended.
    __device__ __forceinline__ void wait(uint32_t parity) const {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                     "@!p bra again;\n"
                     "}\n" ::"r"(at),
                     "r"(parity)
                     : "memory");
    }
};

// The barriers of a ring of N slots, as they lie in shared memory: a slot is filled, and it is free again.
template <int N> struct RingBars {
    uint64_t full[N], empty[N];
};

// The same by their address.
template <int N> struct Ring {
    uint32_t at;

    __device__ __forceinline__ Bar full(int slot) const { return {at + 8 * slot}; }
    __device__ __forceinline__ Bar empty(int slot) const { return {at + 8 * N + 8 * slot}; }
    // Arrivals that end a phase: announced copies or threads that fill a slot, and those that have read it.
    __device__ __forceinline__ void init(int fillers, int readers) const {
        for (int i = 0; i < N; i++) {
            full(i).init(fillers);
            empty(i).init(readers);
        }
    }
};

// Makes the barriers' first state visible to the copy engine.
__device__ __forceinline__ void bars_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Where one side of a ring stands: the slot in turn and the parity of its round.
template <int SLOTS> struct Cursor {
    int slot = 0;
    uint32_t parity = 0;
    __device__ __forceinline__ void next() {
        if (++slot == SLOTS) {
            slot = 0;
            parity ^= 1;
        }
    }
};

// A barrier of one warpgroup; id from 1 on.
__device__ __forceinline__ void warpgroup_sync(int id) { asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory"); }

template <int N> __device__ __forceinline__ void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> __device__ __forceinline__ void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

// ---- copies -------------------------------------------------------------------------------------------

// Copies the map's box at (column, head, row) to shared memory; rows past the end arrive as zeros.
__device__ __forceinline__ void copy_box(uint32_t dst, const CUtensorMap *map, Bar bar, int col, int head, int row) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
            "r"(dst),
        "l"(map), "r"(bar.at), "r"(col), "r"(head), "r"(row)
        : "memory");
}

// Copies ROWS tokens of one head, D columns in panels of 64, and announces them to the barrier.
template <int D, int ROWS>
__device__ __forceinline__ void copy_tile(uint32_t dst, const CUtensorMap *map, Bar bar, int head, int row) {
    bar.expect(ROWS * D * 2);
    for (int c = 0; c < D / 64; c++) copy_box(dst + c * ROWS * 128, map, bar, 64 * c, head, row);
}

// Makes what this thread wrote to shared memory visible to copies and matrix products that start later.
__device__ __forceinline__ void fence_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Orders what this thread has seen of global memory, or what its copies have done there, before what comes later.
__device__ __forceinline__ void fence_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Copies out of shared memory, in groups. Either writes or adds; one thread at a time may add to a place for the
// order of its sums to be fixed.
__device__ __forceinline__ void bulk_store(float *dst, uint32_t src, int bytes, bool add) {
    if (add)
        asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(dst), "r"(src),
                     "r"(bytes)
                     : "memory");
    else
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst), "r"(src), "r"(bytes)
                     : "memory");
}
__device__ __forceinline__ void store_box(const CUtensorMap *map, uint32_t src, int col, int head, int row, bool add) {
    if (add)
        asm volatile(
            "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
                map),
            "r"(src), "r"(col), "r"(head), "r"(row)
            : "memory");
    else
        asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                     "r"(src), "r"(col), "r"(head), "r"(row)
                     : "memory");
}
__device__ __forceinline__ void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until all groups have read their shared memory; until they have written, too.
__device__ __forceinline__ void stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void stores_done() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// ---- the matrix product -------------------------------------------------------------------------------

// Tiles lie in panels of 64 bf16 columns: rows of 128 bytes in the copy engine's 128-byte swizzle, each panel
// aligned to 1024 bytes. A descriptor names one operand in such a tile.

// The descriptor of 16 K-columns or 16 K-rows, `offset` bytes into the operand at `at`. panel: bytes between
// panels, which matters only where the panels run along N (K-rows).
__device__ __forceinline__ uint64_t operand(uint32_t at, int offset, int panel) {
    const uint32_t low = (at >> 4) + (offset >> 4) + (panel >> 4 << 16);
    return uint64_t(1024 >> 4 | 1 << 30) << 32 | low;
}

__device__ __forceinline__ void mma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void mma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most N committed groups are unfinished.
template <int N> __device__ __forceinline__ void mma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// Keeps the compiler from moving uses of registers that a product reads or writes across this point.
template <int N> __device__ __forceinline__ void settle(float (&r)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(r[i])::"memory");
}
template <int N> __device__ __forceinline__ void settle(uint32_t (&r)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+r"(r[i])::"memory");
}

#define LL_F4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LL_F16(d, i) LL_F4(d, i), LL_F4(d, i + 4), LL_F4(d, i + 8), LL_F4(d, i + 12)
#define LL_F32(d, i) LL_F16(d, i), LL_F16(d, i + 16)
#define LL_R16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define LL_R32                                            \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LL_R64                                                                      \
    LL_R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
           "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// d (64,N) = [d +] A (64,16) · B (16,N): A and B in shared memory. TA, TB: their rows run along K.
template <int TB, int TA = 0> __device__ __forceinline__ void mma(float (&d)[16], uint64_t a, uint64_t b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" LL_R16 "}, %16, %17, p, 1, 1, %20, %19;\n}\n"
                 : LL_F16(d, 0)
                 : "l"(a), "l"(b), "r"(add), "n"(TB), "n"(TA));
}
template <int TB, int TA = 0> __device__ __forceinline__ void mma(float (&d)[32], uint64_t a, uint64_t b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LL_R32 "}, %32, %33, p, 1, 1, %36, %35;\n}\n"
                 : LL_F32(d, 0)
                 : "l"(a), "l"(b), "r"(add), "n"(TB), "n"(TA));
}
template <int TB> __device__ __forceinline__ void mma(float (&d)[64], uint64_t a, uint64_t b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LL_R64 "}, %64, %65, p, 1, 1, 0, %67;\n}\n"
                 : LL_F32(d, 0), LL_F32(d, 32)
                 : "l"(a), "l"(b), "r"(add), "n"(TB));
}
// The same with A in registers: a[0..3] of the 16 columns.
template <int TB> __device__ __forceinline__ void mma(float (&d)[32], const uint32_t *a, uint64_t b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LL_R32
                 "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}\n"
                 : LL_F32(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TB));
}
template <int TB> __device__ __forceinline__ void mma(float (&d)[64], const uint32_t *a, uint64_t b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LL_R64
                 "}, {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n}\n"
                 : LL_F32(d, 0), LL_F32(d, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TB));
}

// d (64,N) = A (64,K) · Bᵀ: rows of A at `a`, of B (N,K) at `b`, both in panels of their own row count.
template <int K, int N2>
__device__ __forceinline__ void mma_rows(float (&d)[N2], uint32_t a, int a_panel, uint32_t b, int b_panel) {
    mma_begin();
#pragma unroll
    for (int k = 0; k < K / 16; k++)
        mma<0>(d, operand(a, k / 4 * a_panel + k % 4 * 32, 16), operand(b, k / 4 * b_panel + k % 4 * 32, 16),
               k > 0);
    mma_commit();
}

// d (64,N) += P (64,K) · B: P in registers (see pack), B (K,N) at `b`.
template <int K, int N2, int NP>
__device__ __forceinline__ void mma_cols(float (&d)[N2], const uint32_t (&p)[NP], uint32_t b, int b_panel) {
    static_assert(NP == K / 4, "a quarter of K registers");
    mma_begin();
#pragma unroll
    for (int k = 0; k < K / 16; k++) mma<1>(d, p + 4 * k, operand(b, k * 2048, b_panel), 1);
    mma_commit();
}

// d (64,N) = A · B, A (K,64) at `a` and B (K,N) at `b` stored in rows along K, one panel each.
template <int K, int N2> __device__ __forceinline__ void mma_both(float (&d)[N2], uint32_t a, uint32_t b) {
    mma_begin();
#pragma unroll
    for (int k = 0; k < K / 16; k++) mma<1, 1>(d, operand(a, k * 2048, 16), operand(b, k * 2048, 16), k > 0);
    mma_commit();
}

// The lane, such that what is computed from it is computed here and does not take registers elsewhere.
__device__ __forceinline__ int lane_here() {
    int x;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(x));
    return x;
}

// Stores the 16 rows of bf16 that this warp holds of a packed result (64,N) into a tile at `at` in panels; row: the
// first of them in the tile.
template <int NP>
__device__ __forceinline__ void store_panels(uint32_t at, int panel, int row, const uint32_t (&p)[NP]) {
    const int lane = lane_here(), r = row + lane % 16; // lane l gives the address of row l%16, columns 8·(l/16) on
#pragma unroll
    for (int k = 0; k < NP / 4; k++)
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         at + k / 4 * panel + r * 128 + (((k % 4 * 2 + lane / 16) ^ r % 8) << 4)),
                     "r"(p[4 * k]), "r"(p[4 * k + 1]), "r"(p[4 * k + 2]), "r"(p[4 * k + 3])
                     : "memory");
}

// A product's result as bf16, in the order that the next product wants its operand A.
template <int N2> __device__ __forceinline__ void pack(uint32_t (&p)[N2 / 2], const float (&s)[N2]) {
#pragma unroll
    for (int i = 0; i < N2 / 2; i++) p[i] = ll_pack(s[2 * i], s[2 * i + 1]);
}

// Writes the rows that this thread's quad holds of a result (64,D) as bf16: 16 bytes a lane and store. row0 and
// row1 point at column 0 of the quad's two rows, NULL where they are not to be written.
template <int D>
__device__ __forceinline__ void store_rows(bf16 *row0, bf16 *row1, const float (&d)[D / 2]) {
    const int lane = threadIdx.x % 4;
    uint32_t p[D / 4];
    pack(p, d);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        bf16 *row = half ? row1 : row0;
#pragma unroll
        for (int j = 0; j < D / 8; j += 4) { // columns 8j..8j+31: lane i of the quad collects those from 8(j+i)
            uint32_t mine[4];
#pragma unroll
            for (int turn = 0; turn < 4; turn++) {
                // In turn n lane i gives lane i^n the words of its columns and gets its own from there.
                const int to = lane ^ turn;
                uint32_t give = p[2 * j + half];
#pragma unroll
                for (int i = 1; i < 4; i++) give = to == i ? p[2 * (j + i) + half] : give;
                uint32_t got = __shfl_xor_sync(0xffffffffu, give, turn);
#pragma unroll
                for (int i = 0; i < 4; i++) mine[i] = to == i ? got : mine[i];
            }
            if (row) *reinterpret_cast<uint4 *>(row + 8 * (j + lane)) = make_uint4(mine[0], mine[1], mine[2], mine[3]);
        }
    }
}

// ---- host ---------------------------------------------------------------------------------------------

// The tensor map of x (tokens, heads, D) bf16 whose box is rows tokens of one head and 64 columns.
int tensor_map(const ll_device *device, CUtensorMap *map, const void *x, int64_t tokens, int heads, int d, int rows);
// The same of float32, with 32 columns.
int sums_map(const ll_device *device, CUtensorMap *map, const void *x, int64_t tokens, int heads, int d, int rows);
// The tensor map of two numbers a query and head, x (2,heads,stride) float32 with t <= stride used, stride a
// multiple of 4. Its box (2,n) is of n queries of one head; past t it holds zeros.
int stats_map(const ll_device *device, CUtensorMap *map, const float *x, int64_t t, int64_t stride, int heads, int n);

} // namespace sm90

#endif
