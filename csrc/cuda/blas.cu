// Matrix products by cuBLASLt, which is opened at run time: a dozen functions of its documented interface
// (cuBLAS 12 and 13), declared here, so that neither its headers nor the library are needed to build.
// Every plan is the heuristic's first choice among algorithms that add up in one order, so the same shapes
// give the same bits.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <library_types.h>
#include <stdio.h>
#include <string.h>

#include <unordered_map>

#include "ll_device.h"

namespace {

typedef int status_t;  // cublasStatus_t
typedef void *object_t;

struct algo_t {
    uint64_t data[8];
};

struct heuristic_t {
    algo_t algo;
    size_t workspace;
    status_t state;
    float waves;
    int reserved[4];
};

enum { COMPUTE_32F = 68, OP_N = 0, OP_T = 1 };               // cublasComputeType_t, cublasOperation_t
// cublasLtMatmulDescAttributes_t
enum { DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS = 8, DESC_A_SCALE = 17, DESC_B_SCALE = 18,
       DESC_FAST = 25, DESC_BIAS_TYPE = 26, DESC_A_SCALE_MODE = 31, DESC_B_SCALE_MODE = 32 };
enum { OUTER_VEC_32F = 3 };  // cublasLtMatmulMatrixScale_t: a factor a row of op(A), a column of op(B)
enum { EPILOGUE_BIAS = 4 };  // cublasLtEpilogue_t: a vector of D's type is added to every column
enum { PREF_WORKSPACE = 1, PREF_REDUCTION = 3, PREF_ALIGN = 5 };  // cublasLtMatmulPreferenceAttributes_t
enum { REDUCTION_COMPUTE_TYPE = 2 };                         // parts in float32 in the workspace, added in order
enum { STATUS_NOT_INITIALIZED = 1, STATUS_NOT_SUPPORTED = 15 };

struct functions_t {
    size_t (*GetVersion)(void);
    status_t (*Create)(object_t *);
    status_t (*Destroy)(object_t);
    status_t (*MatmulDescCreate)(object_t *, int compute, int scale);
    status_t (*MatmulDescDestroy)(object_t);
    status_t (*MatmulDescSetAttribute)(object_t, int, const void *, size_t);
    status_t (*MatrixLayoutCreate)(object_t *, int type, uint64_t rows, uint64_t cols, int64_t ld);
    status_t (*MatrixLayoutDestroy)(object_t);
    status_t (*MatmulPreferenceCreate)(object_t *);
    status_t (*MatmulPreferenceDestroy)(object_t);
    status_t (*MatmulPreferenceSetAttribute)(object_t, int, const void *, size_t);
    status_t (*MatmulAlgoGetHeuristic)(object_t, object_t desc, object_t a, object_t b, object_t c, object_t d,
                                       object_t pref, int want, heuristic_t *, int *got);
    status_t (*Matmul)(object_t, object_t desc, const void *alpha, const void *a, object_t la, const void *b,
                       object_t lb, const void *beta, const void *c, object_t lc, void *d, object_t ld, const algo_t *,
                       void *work, size_t work_bytes, cudaStream_t);
};

// What a plan depends on.
struct shape_t {
    int64_t m, n, k, lda, ldb, ldc, ldd;
    uint64_t work;
    int32_t ta, tb, ddt, beta;  // beta: whether C is read
    uint32_t align[4];          // of the addresses of a, b, c, d, at most 256
    uint64_t bias;              // of the bias's address, 0 without
    uint64_t scaled;            // of floats of 8 bits: 1, with fast sums 2
    bool operator==(const shape_t &o) const { return memcmp(this, &o, sizeof o) == 0; }
};

struct hash_t {
    size_t operator()(const shape_t &s) const {
        uint64_t h = 1469598103934665603ull;  // FNV-1a over words
        const uint64_t *w = (const uint64_t *)&s;
        for (size_t i = 0; i < sizeof s / sizeof *w; i++) h = (h ^ w[i]) * 1099511628211ull;
        return h ^ h >> 29;
    }
};

struct plan_t {
    object_t desc, a, b, c, d;
    heuristic_t best;
    status_t none; // why there is no algorithm for it; 0 where there is
};

uint32_t align_of(const void *p) {
    uintptr_t x = (uintptr_t)p | 256;
    return (uint32_t)(x & -x);
}

#define TRY(call)             \
    do {                      \
        status_t s_ = (call); \
        if (s_) return s_;    \
    } while (0)

}  // namespace

// cuBLASLt on one device: its functions, its handle, and a plan for each shape of product so far.
struct ll_blas {
    functions_t lt;
    object_t handle;
    std::unordered_map<shape_t, plan_t, hash_t> plans;

    status_t layouts(const shape_t &s, plan_t *p);
    status_t set_vectors(plan_t *p, const ll_gemm_args *g);
    status_t choose(const shape_t &s, plan_t *p, object_t pref);
    status_t make(const shape_t &s, const ll_gemm_args *g, plan_t *p);
    status_t plan(const ll_gemm_args *g, plan_t **out);
    void destroy(plan_t *p);
    bool open(const char *path, char *msg, size_t msg_len);
};

// Row-major D = op(A) op(B) is column-major D' = op(B)' op(A)': the operands change places, and a matrix stored by
// rows is its own transpose stored by columns.
status_t ll_blas::layouts(const shape_t &s, plan_t *p) {
    int ta = s.tb ? OP_T : OP_N, tb = s.ta ? OP_T : OP_N;
    int type = s.ddt == LL_F32 ? CUDA_R_32F : CUDA_R_16BF, factors = s.scaled ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    TRY(lt.MatmulDescCreate(&p->desc, COMPUTE_32F, CUDA_R_32F));
    TRY(lt.MatmulDescSetAttribute(p->desc, DESC_TRANSA, &ta, sizeof ta));
    TRY(lt.MatmulDescSetAttribute(p->desc, DESC_TRANSB, &tb, sizeof tb));
    TRY(lt.MatrixLayoutCreate(&p->a, factors, s.tb ? s.k : s.n, s.tb ? s.n : s.k, s.ldb));
    TRY(lt.MatrixLayoutCreate(&p->b, factors, s.ta ? s.m : s.k, s.ta ? s.k : s.m, s.lda));
    TRY(lt.MatrixLayoutCreate(&p->c, type, s.n, s.m, s.ldc));
    return lt.MatrixLayoutCreate(&p->d, type, s.n, s.m, s.ldd);
}

// The addresses of a plan's bias and scales: choosing looks at how they are aligned, each product has its own.
status_t ll_blas::set_vectors(plan_t *p, const ll_gemm_args *g) {
    if (g->bias) TRY(lt.MatmulDescSetAttribute(p->desc, DESC_BIAS, &g->bias, sizeof g->bias));
    if (!g->sa) return 0;
    TRY(lt.MatmulDescSetAttribute(p->desc, DESC_A_SCALE, &g->sb, sizeof g->sb));
    return lt.MatmulDescSetAttribute(p->desc, DESC_B_SCALE, &g->sa, sizeof g->sa);
}

status_t ll_blas::choose(const shape_t &s, plan_t *p, object_t pref) {
    uint32_t scheme = REDUCTION_COMPUTE_TYPE, align[4] = {s.align[1], s.align[0], s.align[2], s.align[3]};
    TRY(lt.MatmulPreferenceSetAttribute(pref, PREF_WORKSPACE, &s.work, sizeof s.work));
    TRY(lt.MatmulPreferenceSetAttribute(pref, PREF_REDUCTION, &scheme, sizeof scheme));
    for (int i = 0; i < 4; i++) TRY(lt.MatmulPreferenceSetAttribute(pref, PREF_ALIGN + i, &align[i], sizeof align[i]));
    int got = 0;
    TRY(lt.MatmulAlgoGetHeuristic(handle, p->desc, p->a, p->b, p->c, p->d, pref, 1, &p->best, &got));
    return got == 0 ? STATUS_NOT_SUPPORTED : p->best.state;
}

void ll_blas::destroy(plan_t *p) {
    if (p->desc) lt.MatmulDescDestroy(p->desc);
    for (object_t o : {p->a, p->b, p->c, p->d})
        if (o) lt.MatrixLayoutDestroy(o);
}

status_t ll_blas::make(const shape_t &s, const ll_gemm_args *g, plan_t *p) {
    TRY(layouts(s, p));
    if (g->bias) {
        const int epilogue = EPILOGUE_BIAS, type = CUDA_R_16BF;
        TRY(lt.MatmulDescSetAttribute(p->desc, DESC_EPILOGUE, &epilogue, sizeof epilogue));
        if (g->sa) TRY(lt.MatmulDescSetAttribute(p->desc, DESC_BIAS_TYPE, &type, sizeof type));
    }
    if (g->sa) {
        const int mode = OUTER_VEC_32F;
        TRY(lt.MatmulDescSetAttribute(p->desc, DESC_A_SCALE_MODE, &mode, sizeof mode));
        TRY(lt.MatmulDescSetAttribute(p->desc, DESC_B_SCALE_MODE, &mode, sizeof mode));
        const int8_t fast = (int8_t)g->fast;
        TRY(lt.MatmulDescSetAttribute(p->desc, DESC_FAST, &fast, sizeof fast));
    }
    TRY(set_vectors(p, g));
    object_t pref = nullptr;
    TRY(lt.MatmulPreferenceCreate(&pref));
    status_t st = choose(s, p, pref);
    lt.MatmulPreferenceDestroy(pref);
    return st;
}

// The plan of a product; what there is none for is remembered too.
status_t ll_blas::plan(const ll_gemm_args *g, plan_t **out) {
    const void *c = g->beta != 0 ? g->c : g->d;
    shape_t key = {};
    key.m = g->m, key.n = g->n, key.k = g->k;
    key.lda = g->lda, key.ldb = g->ldb, key.ldc = g->beta != 0 ? g->ldc : g->ldd, key.ldd = g->ldd;
    key.work = g->work_bytes, key.ta = g->ta, key.tb = g->tb, key.ddt = g->ddt, key.beta = g->beta != 0;
    key.align[0] = align_of(g->a), key.align[1] = align_of(g->b), key.align[2] = align_of(c),
    key.align[3] = align_of(g->d);
    key.bias = g->bias ? align_of(g->bias) : 0;
    key.scaled = g->sa ? 1 + g->fast : 0;
    auto it = plans.find(key);
    if (it == plans.end()) {
        plan_t p = {};
        p.none = make(key, g, &p);
        it = plans.emplace(key, p).first;
    }
    *out = &it->second;
    return it->second.none;
}

bool ll_blas::open(const char *path, char *msg, size_t msg_len) {
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL); // stays loaded
    if (!lib) {
        snprintf(msg, msg_len, "%s", dlerror());
        return false;
    }
#define LOOK(f)                                                            \
    if (!(*(void **)&lt.f = dlsym(lib, "cublasLt" #f))) {                  \
        snprintf(msg, msg_len, "%s has no function cublasLt" #f, path);    \
        return false;                                                      \
    }
    LOOK(GetVersion) LOOK(Create) LOOK(Destroy)
    LOOK(MatmulDescCreate) LOOK(MatmulDescDestroy) LOOK(MatmulDescSetAttribute)
    LOOK(MatrixLayoutCreate) LOOK(MatrixLayoutDestroy)
    LOOK(MatmulPreferenceCreate) LOOK(MatmulPreferenceDestroy) LOOK(MatmulPreferenceSetAttribute)
    LOOK(MatmulAlgoGetHeuristic) LOOK(Matmul)
#undef LOOK
    status_t st = lt.Create(&handle);
    if (st) snprintf(msg, msg_len, "%s: cublasLtCreate returned %d", path, st);
    return st == 0;
}

extern "C" int ll_blas_open(ll_device *d, const char *path, char *msg, size_t msg_len) {
    ll_blas *b = new ll_blas{};
    if (!b->open(path, msg, msg_len)) {
        delete b;
        return 1;
    }
    if (d->blas) ll_blas_close(d->blas);
    d->blas = b;
    return 0;
}

void ll_blas_close(ll_blas *b) {
    for (auto &p : b->plans) b->destroy(&p.second);
    b->lt.Destroy(b->handle);
    delete b;
}

extern "C" size_t ll_blas_version(const ll_device *d) { return d->blas ? d->blas->lt.GetVersion() : 0; }

extern "C" int ll_gemm_can(ll_device *d, const ll_gemm_args *g) {
    plan_t *p;
    status_t st = d->blas ? d->blas->plan(g, &p) : STATUS_NOT_INITIALIZED;
    return st ? LL_BLAS + st : cudaSuccess;
}

extern "C" int ll_gemm(ll_device *d, ll_stream s, const ll_gemm_args *g) {
    ll_blas *b = d->blas;
    if (!b) return LL_BLAS + STATUS_NOT_INITIALIZED;
    if (g->m == 0 || g->n == 0) return cudaSuccess;
    plan_t *p;
    status_t st = b->plan(g, &p);
    if (!st) st = b->set_vectors(p, g);
    if (!st)
        st = b->lt.Matmul(b->handle, p->desc, &g->alpha, g->b, p->a, g->a, p->b, &g->beta, g->beta != 0 ? g->c : g->d,
                          p->c, g->d, p->d, &p->best.algo, g->work, g->work_bytes, (cudaStream_t)s);
    return st ? LL_BLAS + st : cudaSuccess;
}
