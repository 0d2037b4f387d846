#ifndef LONGLORA_BUS_H
#define LONGLORA_BUS_H

#include <stddef.h>
#include <stdint.h>

enum { LL_MAPS = 1 << 14 }; // far above what the program maps at a time

// ll_bus_install takes SIGBUS over; what is not of a watched range goes on to who had it before. Not 0 is an errno.
int ll_bus_install(void);

// ll_bus_watch watches n bytes from p under a number below LL_MAPS; n of 0 ends that.
void ll_bus_watch(int number, void *p, size_t n);

// ll_bus_broken is 0, or one more than the number of the watched range that broke last.
uint32_t *ll_bus_broken(void);

#endif
