// Stands before the toolkit's cuda.h when gorgonia.org/cu v0.9.6 is compiled, and mends two things: five
// functions took other arguments until CUDA 13, and the package's init ends the process where there is no GPU.
#ifndef LONGLORA_DRIVER_CUDA_H
#define LONGLORA_DRIVER_CUDA_H

#include_next <cuda.h>

#if CUDA_VERSION >= 13000

static inline CUmemLocation ll_location(CUdevice d) {
    CUmemLocation l = {.type = d < 0 ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE};
    l.id = d < 0 ? 0 : d;
    return l;
}

static inline CUresult ll_ctx_create(CUcontext *c, unsigned flags, CUdevice d) {
    CUctxCreateParams none = {0};
    return cuCtxCreate_v4(c, &none, flags, d);
}

static inline CUresult ll_mem_advise(CUdeviceptr p, size_t n, CUmem_advise a, CUdevice d) {
    return cuMemAdvise_v2(p, n, a, ll_location(d));
}

static inline CUresult ll_mem_prefetch(CUdeviceptr p, size_t n, CUdevice d, CUstream s) {
    return cuMemPrefetchAsync_v2(p, n, ll_location(d), 0, s);
}

static inline CUresult ll_graph_add(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n) {
    return cuGraphAddDependencies_v2(g, from, to, NULL, n);
}

static inline CUresult ll_graph_edges(CUgraph g, CUgraphNode *from, CUgraphNode *to, size_t *n) {
    return cuGraphGetEdges_v2(g, from, to, NULL, n);
}

#undef cuCtxCreate
#undef cuMemAdvise
#undef cuMemPrefetchAsync
#undef cuGraphAddDependencies
#undef cuGraphGetEdges
#define cuCtxCreate ll_ctx_create
#define cuMemAdvise ll_mem_advise
#define cuMemPrefetchAsync ll_mem_prefetch
#define cuGraphAddDependencies ll_graph_add
#define cuGraphGetEdges ll_graph_edges

#endif

// Package cu calls this once, at start; whoever opens a device asks again and hears the real status.
static inline CUresult ll_init(unsigned flags) {
    (void)cuInit(flags);
    return CUDA_SUCCESS;
}
#define cuInit ll_init

#endif
