//go:build unix

#include "bus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

// A page of a mapped file that cannot be read, for the file was cut off before it or its disk fails, raises SIGBUS in
// whatever code reads it: Go, the kernels, or a library. The handler says that the file is broken and puts zeros in the
// place of all that follows, so that the code comes to its end. What it computed is of no use; see Intact in mapped.go.

static struct {
    _Atomic uintptr_t lo, hi;
} ranges[LL_MAPS];
static uint32_t broken; // written by __atomic builtins, read by Go
static struct sigaction before;
static uintptr_t page;

uint32_t *ll_bus_broken(void) { return &broken; }

void ll_bus_watch(int number, void *p, size_t n)
{
    atomic_store(&ranges[number].hi, 0); // an empty range while it is changed
    atomic_store(&ranges[number].lo, (uintptr_t)p);
    atomic_store(&ranges[number].hi, n ? (uintptr_t)p + n : 0);
}

// mend puts zeros from the page of address at to its range's end. Only calls that a signal handler may make are made.
static int mend(uintptr_t at)
{
    for (int i = 0; i < LL_MAPS; i++) {
        uintptr_t hi = atomic_load(&ranges[i].hi);
        if (at < atomic_load(&ranges[i].lo) || at >= hi) continue;
        uintptr_t from = at & ~(page - 1), to = (hi + page - 1) & ~(page - 1);
        __atomic_store_n(&broken, (uint32_t)i + 1, __ATOMIC_SEQ_CST); // before any thread can see a zero
        return mmap((void *)from, to - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)from;
    }
    return 0;
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
    int kept = errno;
    if (mend((uintptr_t)info->si_addr)) {
        errno = kept;
        return;
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(sig, info, context);
        return;
    }
    signal(SIGBUS, SIG_DFL); // the instruction runs again, and ends the process
}

int ll_bus_install(void)
{
    struct sigaction own = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigfillset(&own.sa_mask);
    return sigaction(SIGBUS, &own, &before) ? errno : 0;
}
