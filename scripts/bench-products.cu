// Times the algorithms that cuBLASLt has for the products of a training step, those with frozen weights, beside the one
// that csrc/cuda/blas.cu takes, the heuristic's first. Candidates are the heuristic's, and its first with other tiles,
// clusters and orders. All are timed briefly, with a pause before each in which the card cools, so these rates are above
// what it holds. The five quickest and the heuristic's first are then timed twice in turns, 110 ms after 90, at the
// card's power limit, which is what holds a step back.
//
//   nvcc -std=c++17 -O2 -arch=sm_90a -o products scripts/bench-products.cu -ldl
//   ./products libcublasLt.so.13 [fp8]
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <library_types.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <vector>

typedef void *object_t;
struct algo_t {
    uint64_t data[8];
};
struct heuristic_t {
    algo_t algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

#define FUNCTIONS(F)                                                                                                 \
    F(GetVersion, size_t, (void))                                                                                    \
    F(Create, int, (object_t *))                                                                                     \
    F(MatmulDescCreate, int, (object_t *, int, int))                                                                 \
    F(MatmulDescSetAttribute, int, (object_t, int, const void *, size_t))                                            \
    F(MatrixLayoutCreate, int, (object_t *, int, uint64_t, uint64_t, int64_t))                                       \
    F(MatmulPreferenceCreate, int, (object_t *))                                                                     \
    F(MatmulPreferenceSetAttribute, int, (object_t, int, const void *, size_t))                                      \
    F(MatmulAlgoGetHeuristic, int,                                                                                   \
      (object_t, object_t, object_t, object_t, object_t, object_t, object_t, int, heuristic_t *, int *))             \
    F(MatmulAlgoConfigGetAttribute, int, (const algo_t *, int, void *, size_t, size_t *))                            \
    F(MatmulAlgoConfigSetAttribute, int, (algo_t *, int, const void *, size_t))                                      \
    F(MatmulAlgoCheck, int,                                                                                          \
      (object_t, object_t, object_t, object_t, object_t, object_t, const algo_t *, heuristic_t *))                   \
    F(Matmul, int,                                                                                                   \
      (object_t, object_t, const void *, const void *, object_t, const void *, object_t, const void *, const void *, \
       object_t, void *, object_t, const algo_t *, void *, size_t, cudaStream_t))

struct {
#define F(name, result, args) result(*name) args;
    FUNCTIONS(F)
#undef F
} lt;

static void must(int status, const char *what) {
    if (!status) return;
    printf("%s: status %d\n", what, status);
    exit(1);
}
#define MUST(x) must((int)(x), #x)

// What an algorithm is made of; cublasLtMatmulAlgoConfigAttributes_t has them in this order from 0 on.
struct config_t {
    int id, tile, splits, scheme, swizzle, option, stages;
    uint16_t inner, cluster;
};

static config_t config_of(const algo_t &a) {
    config_t c{};
    size_t got;
    int *words[] = {&c.id, &c.tile, &c.splits, &c.scheme, &c.swizzle, &c.option, &c.stages};
    for (int i = 0; i < 7; i++) lt.MatmulAlgoConfigGetAttribute(&a, i, words[i], 4, &got);
    lt.MatmulAlgoConfigGetAttribute(&a, 7, &c.inner, 2, &got);
    lt.MatmulAlgoConfigGetAttribute(&a, 8, &c.cluster, 2, &got);
    return c;
}

static const char *tile_name(int t) {
    static char other[16];
    const struct {
        int id;
        const char *name;
    } names[] = {{20, "128x128"}, {23, "128x256"}, {24, "256x128"}, {29, "128x160"}, {30, "160x128"}, {31, "192x128"},
                 {32, "128x192"}, {209, "192x192"}, {210, "192x256"}, {232, "256x192"}, {248, "320x128"}};
    for (auto &n : names)
        if (n.id == t) return n.name;
    snprintf(other, sizeof other, "tile%d", t);
    return other;
}
static const char *cluster_name(int c) {
    static char other[16];
    const char *names[] = {"auto", "?", "1x1", "2x1", "4x1", "1x2", "2x2", "4x2", "1x4", "2x4"};
    if (c < 10) return names[c];
    snprintf(other, sizeof other, "clus%d", c);
    return other;
}

struct shape_t {
    const char *what;
    int m, n, k;
    bool turned, beta, eight, fast; // y·Wᵀ, else y·W; whether there is a C to add; in FP8
};

static const shape_t shapes[] = {
    {"q k v o, 32k", 32768, 4096, 4096, true, true, false, false},
    {"q k v o, 32k, back", 32768, 4096, 4096, false, true, false, false},
    {"q k v o, 8k", 8192, 4096, 4096, true, true, false, false},
    {"q k v o, 8k, back", 8192, 4096, 4096, false, true, false, false},
    {"gate up", 8192, 11008, 4096, true, false, false, false},
    {"gate up, back", 8192, 4096, 11008, false, true, false, false},
    {"down", 8192, 4096, 11008, true, true, false, false},
    {"down, back", 8192, 11008, 4096, false, false, false, false},
    {"8B gate up", 8192, 14336, 4096, true, false, false, false},
    {"8B down", 8192, 4096, 14336, true, true, false, false},
    {"fp8 q k v o, 32k", 32768, 4096, 4096, true, true, true, false},
    {"fp8 q k v o, 8k", 8192, 4096, 4096, true, true, true, false},
    {"fp8 gate up", 8192, 11008, 4096, true, false, true, false},
    {"fp8 down", 8192, 4096, 11008, true, true, true, false},
    {"fp8 fast q k v o, 32k", 32768, 4096, 4096, true, true, true, true},
    {"fp8 fast gate up", 8192, 11008, 4096, true, false, true, true},
    {"fp8 fast down", 8192, 4096, 11008, true, true, true, true},
};

// About normal numbers: the sum of four uniform ones. The bits matter, because they are what power goes into.
static __global__ void fill(void *to, int64_t n, bool eight, uint64_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        uint64_t x = (i + seed) * 0x9e3779b97f4a7c15ull;
        x ^= x >> 31, x *= 0xbf58476d1ce4e5b9ull, x ^= x >> 29;
        const float f = ((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48)) * (1.0f / 65536) - 2;
        if (eight) // e4m3 of f·128, by hand: sign, exponent, three bits
            ((uint8_t *)to)[i] = (uint8_t)(__float_as_uint(f) >> 24 & 0x80 |
                                           min(126, max(0, (int)(__float_as_uint(f) >> 20 & 0x7ff) - (127 - 14) * 8)));
        else
            ((__nv_bfloat16 *)to)[i] = __float2bfloat16(f);
    }
}
static __global__ void fill_floats(float *to, int64_t n, float v) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        to[i] = v;
}

constexpr size_t WORK = 64 << 20; // as the backend gives
static char *x, *w, *c, *d, *work;
static float *ones;
static object_t handle;

struct product_t {
    shape_t s;
    object_t desc, a, b, cd, pref;

    explicit product_t(const shape_t &s) : s(s) {
        const int bf = CUDA_R_16BF, f = s.eight ? CUDA_R_8F_E4M3 : bf;
        const int ta = s.turned ? 1 : 0, tb = 0; // column-major, so W comes first
        MUST(lt.MatmulDescCreate(&desc, 68, CUDA_R_32F));
        MUST(lt.MatmulDescSetAttribute(desc, 3, &ta, 4));
        MUST(lt.MatmulDescSetAttribute(desc, 4, &tb, 4));
        if (s.eight) {
            const int mode = 3;
            const int8_t fast = s.fast;
            MUST(lt.MatmulDescSetAttribute(desc, 31, &mode, 4));
            MUST(lt.MatmulDescSetAttribute(desc, 32, &mode, 4));
            MUST(lt.MatmulDescSetAttribute(desc, 25, &fast, 1));
            MUST(lt.MatmulDescSetAttribute(desc, 17, &ones, 8));
            MUST(lt.MatmulDescSetAttribute(desc, 18, &ones, 8));
        }
        MUST(lt.MatrixLayoutCreate(&a, f, s.turned ? s.k : s.n, s.turned ? s.n : s.k, s.turned ? s.k : s.n));
        MUST(lt.MatrixLayoutCreate(&b, f, s.k, s.m, s.k));
        MUST(lt.MatrixLayoutCreate(&cd, bf, s.n, s.m, s.n));
        const size_t bytes = WORK;
        const uint32_t scheme = 2, align = 256;
        MUST(lt.MatmulPreferenceCreate(&pref));
        MUST(lt.MatmulPreferenceSetAttribute(pref, 1, &bytes, 8));
        MUST(lt.MatmulPreferenceSetAttribute(pref, 3, &scheme, 4));
        for (int i = 5; i < 9; i++) MUST(lt.MatmulPreferenceSetAttribute(pref, i, &align, 4));
    }

    int run(const algo_t &algo) const {
        const float alpha = 1, beta = s.beta;
        return lt.Matmul(handle, desc, &alpha, w, a, x, b, &beta, s.beta ? c : d, cd, d, cd, &algo, work, WORK, 0);
    }


    // Runs it for so many milliseconds and then times as many; milliseconds a call, 0 where it does not run.
    double time(const algo_t &algo, double before, double timed) const {
        if (run(algo)) return 0;
        if (cudaDeviceSynchronize()) return 0;
        const auto batch = [&](int n) {
            const auto start = std::chrono::steady_clock::now();
            for (int i = 0; i < n; i++) run(algo);
            MUST(cudaDeviceSynchronize());
            return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        };
        const double once = batch(2) / 2;
        batch(std::max(1, (int)(before / once)));
        const int n = std::max(2, (int)(timed / once));
        return batch(n) / n;
    }
};

struct candidate_t {
    algo_t algo;
    config_t config;
    int rank; // in the heuristic's order, -1 of those made here
    double brief, ms;
};

static std::vector<candidate_t> candidates_of(const product_t &p) {
    std::vector<candidate_t> all;
    heuristic_t found[64];
    int got = 0;
    must(lt.MatmulAlgoGetHeuristic(handle, p.desc, p.a, p.b, p.cd, p.cd, p.pref, 64, found, &got), "heuristic");
    for (int i = 0; i < got; i++)
        if (!found[i].state) all.push_back({found[i].algo, config_of(found[i].algo), i, 0, 0});
    if (all.empty()) return all;
    const candidate_t first = all[0];
    for (int tile : {23, 24, 209, 210, 232, 248, 31, 32})
        for (int cluster : {2, 3, 5, 6, 4, 8})
            for (int swizzle : {0, 1}) {
                candidate_t v = first;
                const uint16_t shape = (uint16_t)cluster;
                v.rank = -1;
                heuristic_t checked{};
                if (lt.MatmulAlgoConfigSetAttribute(&v.algo, 1, &tile, 4)) continue;
                if (lt.MatmulAlgoConfigSetAttribute(&v.algo, 8, &shape, 2)) continue;
                if (lt.MatmulAlgoConfigSetAttribute(&v.algo, 4, &swizzle, 4)) continue;
                v.config = config_of(v.algo);
                if (std::any_of(all.begin(), all.end(), [&](const candidate_t &o) {
                        return !memcmp(&o.config, &v.config, sizeof v.config);
                    })) continue;
                if (lt.MatmulAlgoCheck(handle, p.desc, p.a, p.b, p.cd, p.cd, &v.algo, &checked)) continue;
                if (checked.state || checked.workspace > WORK) continue;
                all.push_back(v);
            }
    return all;
}

static void measure(const shape_t &s) {
    const product_t p(s);
    std::vector<candidate_t> all = candidates_of(p);
    printf("\n%s: (%d,%d)x(%d), %zu candidates\n", s.what, s.m, s.n, s.k, all.size());
    if (all.empty()) return;
    const double flops = 2.0 * s.m * s.n * s.k / 1e9;
    p.time(all[0].algo, 150, 10); // to the clock that the power limit leaves
    for (auto &v : all) v.brief = p.time(v.algo, 2, 6);
    std::vector<candidate_t *> best;
    for (auto &v : all)
        if (v.brief > 0) best.push_back(&v);
    std::sort(best.begin(), best.end(), [](auto a, auto b) { return a->brief < b->brief; });
    if (best.size() > 5) best.resize(5);
    if (std::find(best.begin(), best.end(), &all[0]) == best.end()) best.push_back(&all[0]);
    for (int turn = 0; turn < 2; turn++)
        for (auto v : best) v->ms += p.time(v->algo, 90, 110) / 2;
    std::sort(best.begin(), best.end(), [](auto a, auto b) { return a->ms < b->ms; });
    for (auto v : best)
        printf("  %6.3f ms %5.0f TFLOP/s (brief %5.0f)  rank %2d %s cluster %s "
               "swizzle %d stages %d splits %d option %d\n",
               v->ms, flops / v->ms, flops / v->brief, v->rank, tile_name(v->config.tile),
               cluster_name(v->config.cluster), v->config.swizzle, v->config.stages, v->config.splits, v->config.option);
    fflush(stdout);
}

int main(int argc, char **argv) {
    void *lib = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
    if (!lib) {
        printf("usage: products LIBCUBLASLT [WORD of the products to time]\n%s\n", argc > 1 ? dlerror() : "");
        return 2;
    }
#define F(name, result, args) \
    if (!(*(void **)&lt.name = dlsym(lib, "cublasLt" #name))) return printf("no cublasLt" #name "\n"), 1;
    FUNCTIONS(F)
#undef F
    MUST(lt.Create(&handle));
    printf("cuBLASLt %zu\n", lt.GetVersion());
    const int64_t most = (int64_t)32768 * 4096, wide = (int64_t)8192 * 14336;
    const int64_t xs = std::max(most, wide), ws = (int64_t)14336 * 4096;
    MUST(cudaMalloc(&x, 2 * xs));
    MUST(cudaMalloc(&w, 2 * ws));
    MUST(cudaMalloc(&c, 2 * xs));
    MUST(cudaMalloc(&d, 2 * xs));
    MUST(cudaMalloc(&work, WORK));
    MUST(cudaMalloc(&ones, 4 * 32768));
    fill_floats<<<64, 256>>>(ones, 32768, 0.01f);
    bool eight = true;
    for (const shape_t &s : shapes) {
        if (argc > 2 && !strstr(s.what, argv[2])) continue;
        if (eight != s.eight || &s == shapes) {
            eight = s.eight;
            fill<<<2048, 256>>>(x, xs, eight, 1);
            fill<<<2048, 256>>>(w, ws, eight, 1ull << 40);
            fill<<<2048, 256>>>(c, xs, false, 1ull << 41);
        }
        measure(s);
    }
    MUST(cudaDeviceSynchronize());
    return 0;
}
