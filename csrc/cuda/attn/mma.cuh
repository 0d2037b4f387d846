// What the portable attention kernels are built of: bf16 m16n8k16 products with float32 sums, tiles of rows in
// shared memory filled by cp.async and read by ldmatrix. Compute capability 8.0 and later.
//
// Fragments, with g = lane/4 and t = lane%4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A 16x16  four registers of two values: (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8) and their right neighbours
//   B 16x8   two registers: (k 2t, n g), (k 2t+8, n g) and the values below them
//   C 16x8   four floats: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)
// So two neighbouring C tiles, rounded, are one A fragment.
#ifndef LONGLORA_ATTN_MMA_CUH
#define LONGLORA_ATTN_MMA_CUH

#include "common.cuh"

// Where a block's shared memory begins, as a number of which the compiler knows nothing: it then makes an address
// once and not at each use.
static __device__ __forceinline__ uint32_t ll_base(const void *smem) {
    uint32_t x = shared_address(smem);
    asm("" : "+r"(x));
    return x;
}

// c += a·b
static __device__ __forceinline__ void ll_mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void ll_ldsm(uint32_t (&r)[4], uint32_t addr) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}

static __device__ __forceinline__ void ll_ldsm_t(uint32_t (&r)[4], uint32_t addr) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}

// Copies 16 or 4 bytes, or writes zeros when not take.
static __device__ __forceinline__ void ll_cp16(uint32_t dst, const void *src, bool take) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(take ? 16 : 0) : "memory");
}
static __device__ __forceinline__ void ll_cp4(uint32_t dst, const void *src, bool take) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(take ? 4 : 0) : "memory");
}
static __device__ __forceinline__ void ll_cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> static __device__ __forceinline__ void ll_cp_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// A tile of rows of C bf16 in shared memory, C a multiple of 32. Its 16-byte chunks are permuted within a row, so
// that the same chunk of eight neighbouring rows lies in eight different groups of banks.
template <int C> struct ll_rows {
    uint32_t base;

    __device__ __forceinline__ uint32_t at(int row, int chunk) const {
        int x = C % 64 == 0 ? row & 7 : (row >> 1) & 3;
        return base + row * (C * 2) + ((chunk ^ x) << 4);
    }
    // All offsets are multiples of 16, so that "^" adds. A fragment of rows r.. and columns c.., and the same of the
    // transposed tile: rows are the tile's columns.
    __device__ __forceinline__ void a(uint32_t (&f)[4], int r, int c, int lane) const {
        ll_ldsm(f, at(r + (lane & 15), c / 8 ^ (lane >> 4)));
    }
    __device__ __forceinline__ void a_t(uint32_t (&f)[4], int r, int c, int lane) const {
        ll_ldsm_t(f, at(c + (lane & 7) + ((lane >> 4) << 3), r / 8 ^ ((lane >> 3) & 1)));
    }
    // Two B fragments, n.. and n+8.., for k..: of the transposed tile (rows are n) and of the tile itself (rows are k).
    __device__ __forceinline__ void b_t(uint32_t (&f)[4], int n, int k, int lane) const {
        ll_ldsm(f, at(n + (lane & 7) + ((lane >> 4) << 3), k / 8 ^ ((lane >> 3) & 1)));
    }
    __device__ __forceinline__ void b(uint32_t (&f)[4], int k, int n, int lane) const {
        ll_ldsm_t(f, at(k + (lane & 15), n / 8 ^ (lane >> 4)));
    }
    // Writes a C tile, rounded, or zeros, to rows r.. and columns c.., c a multiple of 8.
    __device__ __forceinline__ void put(int r, int c, float x0, float x1, float x2, float x3, int lane) const {
        const uint32_t to = at(r + (lane >> 2), c / 8) + (lane & 3) * 4; // eight rows on have the same permutation
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(ll_pack(x0, x1)) : "memory");
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(to + 8 * C * 2), "r"(ll_pack(x2, x3)) : "memory");
    }
};

template <int M, int N> static __device__ __forceinline__ void ll_zero(float (&c)[M][N][4]) {
#pragma unroll
    for (int i = 0; i < M * N * 4; i++) c[i / 4 / N][i / 4 % N][i % 4] = 0;
}

// c += A·B, of 16·M rows, 8·N columns (an even N) and K terms; a(f, row, k) and b(f, column, k) fetch an A fragment and
// two neighbouring B fragments.
template <int K, int M, int N, class FA, class FB>
static __device__ __forceinline__ void ll_product(float (&c)[M][N][4], FA a, FB b) {
#pragma unroll
    for (int k = 0; k < K; k += 16) {
        uint32_t fa[M][4], fb[4];
#pragma unroll
        for (int m = 0; m < M; m++) a(fa[m], m * 16, k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            b(fb, n * 8, k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                ll_mma(c[m][n], fa[m], fb[0], fb[1]);
                ll_mma(c[m][n + 1], fa[m], fb[2], fb[3]);
            }
        }
    }
}

// Fills rows [0, R) of a tile with n rows of d columns that begin at src, stride elements apart, by THREADS threads;
// zeros elsewhere. EXACT: d is C and addresses are multiples of 16 bytes; otherwise d is even and at most C.
template <int R, int C, int THREADS, bool EXACT>
static __device__ __forceinline__ void ll_fill(ll_rows<C> dst, const bf16 *src, int64_t stride, int n, int d, int tid) {
    constexpr int CHUNKS = C / 8;
    static_assert(R * CHUNKS % THREADS == 0, "whole rounds");
    if constexpr (EXACT && THREADS % CHUNKS == 0) { // each thread keeps its chunk and walks down the rows
        constexpr int STEP = THREADS / CHUNKS;
        int row = tid / CHUNKS, chunk = tid % CHUNKS;
        const bf16 *p = src + row * stride + chunk * 8;
#pragma unroll
        for (int i = 0; i < R; i += STEP) {
            bool take = row + i < n;
            ll_cp16(dst.at(row + i, chunk), take ? p + i * stride : src, take);
        }
    } else
        for (int i = tid; i < R * CHUNKS; i += THREADS) {
            int row = i / CHUNKS, chunk = i % CHUNKS;
            const bf16 *p = src + row * stride + chunk * 8;
            uint32_t to = dst.at(row, chunk);
            if (d % 8 == 0) {
                bool take = row < n && chunk * 8 < d;
                ll_cp16(to, take ? p : src, take);
            } else
                for (int j = 0; j < 8; j += 2) {
                    bool take = row < n && chunk * 8 + j < d;
                    ll_cp4(to + j * 2, take ? p + j : src, take);
                }
        }
}

#endif
