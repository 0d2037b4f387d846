#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#define VL 8
#define MR 6
#else
#define VL 4
#define MR 4
#endif
#define FN(name) ll_##name##_avx2
#include "vec.h"
