#define VL 4
#define MR 4
#define FN(name) ll_##name##_plain
#include "vec.h"
