// Sums between the cards of a group by NCCL, which is opened at run time: a few functions of its documented
// interface (NCCL 2), declared here, so that neither its headers nor the library are needed to build.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "longlora.h"

namespace {

typedef int result_t;                            // ncclResult_t; 0 is success
typedef struct { char bytes[LL_NCCL_ID]; } group_t; // ncclUniqueId, which is passed by value
enum { INT8 = 0, FLOAT32 = 7, SUM = 0 };         // ncclDataType_t, ncclRedOp_t
enum { IN_PROGRESS = 7 };

struct functions_t {
    result_t (*GetVersion)(int *);
    const char *(*GetErrorString)(result_t);
    const char *(*GetLastError)(void *comm);
    result_t (*GetUniqueId)(group_t *);
    result_t (*CommInitRank)(void **comm, int size, group_t id, int rank);
    result_t (*CommDestroy)(void *comm);
    result_t (*CommAbort)(void *comm);
    result_t (*CommGetAsyncError)(void *comm, result_t *);
    result_t (*AllReduce)(const void *in, void *out, size_t n, int type, int op, void *comm, cudaStream_t);
    result_t (*Send)(const void *from, size_t n, int type, int peer, void *comm, cudaStream_t);
    result_t (*Recv)(void *to, size_t n, int type, int peer, void *comm, cudaStream_t);
};

} // namespace

// The library's functions, and this rank's end of its group.
struct ll_nccl {
    functions_t f;
    void *comm; // NULL before it has joined, and after it was aborted

    bool open(const char *path, char *msg, size_t msg_len);
};

bool ll_nccl::open(const char *path, char *msg, size_t msg_len) {
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL); // stays loaded
    if (!lib) {
        snprintf(msg, msg_len, "%s", dlerror());
        return false;
    }
#define LOOK(name)                                                      \
    if (!(*(void **)&f.name = dlsym(lib, "nccl" #name))) {              \
        snprintf(msg, msg_len, "%s has no function nccl" #name, path);  \
        return false;                                                   \
    }
    LOOK(GetVersion) LOOK(GetErrorString) LOOK(GetLastError) LOOK(GetUniqueId)
    LOOK(CommInitRank) LOOK(CommDestroy) LOOK(CommAbort) LOOK(CommGetAsyncError)
    LOOK(AllReduce) LOOK(Send) LOOK(Recv)
#undef LOOK
    return true;
}

extern "C" int ll_nccl_open(ll_nccl **out, const char *path, char *msg, size_t msg_len) {
    ll_nccl *n = new ll_nccl{};
    if (!n->open(path, msg, msg_len)) {
        delete n;
        return 1;
    }
    *out = n;
    return 0;
}

extern "C" ll_nccl *ll_nccl_another(const ll_nccl *n) { return new ll_nccl{n->f, nullptr}; }

extern "C" int ll_nccl_version(const ll_nccl *n) {
    int v = 0;
    return n->f.GetVersion(&v) ? 0 : v;
}

extern "C" const char *ll_nccl_text(const ll_nccl *n, int result) { return n->f.GetErrorString(result); }

extern "C" const char *ll_nccl_last(const ll_nccl *n) { return n->f.GetLastError(n->comm); }

extern "C" int ll_nccl_id(const ll_nccl *n, char *id) {
    group_t t;
    result_t r = n->f.GetUniqueId(&t);
    memcpy(id, t.bytes, sizeof t);
    return r;
}

extern "C" int ll_nccl_join(ll_nccl *n, const char *id, int rank, int size) {
    group_t t;
    memcpy(t.bytes, id, sizeof t);
    return n->f.CommInitRank(&n->comm, size, t, rank);
}

extern "C" int ll_nccl_sum(ll_nccl *n, ll_stream s, float *x, int64_t count) {
    return n->f.AllReduce(x, x, count, FLOAT32, SUM, n->comm, (cudaStream_t)s);
}

extern "C" int ll_nccl_give(ll_nccl *n, ll_stream s, const void *x, int64_t bytes, int peer) {
    return n->f.Send(x, bytes, INT8, peer, n->comm, (cudaStream_t)s);
}

extern "C" int ll_nccl_take(ll_nccl *n, ll_stream s, void *x, int64_t bytes, int peer) {
    return n->f.Recv(x, bytes, INT8, peer, n->comm, (cudaStream_t)s);
}

extern "C" int ll_nccl_fault(ll_nccl *n) {
    result_t r = 0;
    if (n->comm && !n->f.CommGetAsyncError(n->comm, &r) && r != IN_PROGRESS) return r;
    return 0;
}

extern "C" void ll_nccl_abort(ll_nccl *n) {
    if (n->comm) n->f.CommAbort(n->comm);
}

extern "C" void ll_nccl_close(ll_nccl *n, int aborted) {
    if (n->comm && !aborted) n->f.CommDestroy(n->comm);
    delete n;
}
