// Writes when each kernel and copy on a GPU began and ended, a line each, to the file that KERNEL_TIMES names. The driver
// loads this library where CUDA_INJECTION64_PATH names it: see kernel-times.sh.
#include <cupti.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *out;
static void *lib;
#define CUPTI(f) ((__typeof__(&f))dlsym(lib, #f))

static void CUPTIAPI request(uint8_t **buf, size_t *size, size_t *records) {
    *size = 1 << 20, *records = 0, *buf = aligned_alloc(8, *size);
}

// start, end, stream, then of a kernel its blocks (x,y,z), threads and registers, of a copy its bytes, then the name.
static void CUPTIAPI complete(CUcontext c, uint32_t s, uint8_t *buf, size_t size, size_t valid) {
    CUpti_Activity *r = NULL;
    while (CUPTI(cuptiActivityGetNextRecord)(buf, valid, &r) == CUPTI_SUCCESS) {
        if (r->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
            const CUpti_ActivityKernel9 *k = (const void *)r;
            fprintf(out, "%lu,%lu,%u,%d,%d,%d,%d,%d,%s\n", k->start, k->end, k->streamId, k->gridX, k->gridY, k->gridZ,
                    k->blockX, k->registersPerThread, k->name);
        } else if (r->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
            const CUpti_ActivityMemcpy5 *k = (const void *)r;
            fprintf(out, "%lu,%lu,%u,%lu,0,0,0,0,memcpy%d\n", k->start, k->end, k->streamId, k->bytes, k->copyKind);
        } else if (r->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
            const CUpti_ActivityMemset4 *k = (const void *)r;
            fprintf(out, "%lu,%lu,%u,%lu,0,0,0,0,memset\n", k->start, k->end, k->streamId, k->bytes);
        }
    }
    free(buf);
    fflush(out);
}

static void *flush(void *x) { // a Go program ends without what atexit asks for
    while (usleep(30000) == 0) CUPTI(cuptiActivityFlushAll)(1);
    return x;
}

int InitializeInjection(void) {
    const char *to = getenv("KERNEL_TIMES"), *from = getenv("KERNEL_TIMES_CUPTI");
    const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                        CUPTI_ACTIVITY_KIND_MEMSET};
    lib = dlopen(from ? from : "libcupti.so", RTLD_NOW);
    if (!lib || !to || !(out = fopen(to, "w"))) {
        fprintf(stderr, "kernel times: %s\n", lib ? "KERNEL_TIMES names no file that can be written" : dlerror());
        return 0;
    }
    int e = CUPTI(cuptiActivityRegisterCallbacks)(request, complete);
    for (int i = 0; i < 3 && !e; i++) e = CUPTI(cuptiActivityEnable)(kinds[i]);
    pthread_t t;
    if (e || pthread_create(&t, NULL, flush, NULL)) fprintf(stderr, "kernel times: CUPTI returned %d\n", e);
    return 1;
}
