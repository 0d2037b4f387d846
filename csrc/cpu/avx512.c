#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define VL 16
#define MR 12
#else
#define VL 4
#define MR 4
#endif
#define FN(name) ll_##name##_avx512
#include "vec.h"
