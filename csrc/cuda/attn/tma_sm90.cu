// Makes tensor maps: the host's side of sm90.cuh.
#include "sm90.cuh"

namespace sm90 {
namespace {

int encode(const ll_device *d, CUtensorMap *map, CUtensorMapDataType type, int bytes, const void *x,
           const int64_t (&size)[3], const int64_t (&stride)[2], int cols, int rows, int planes,
           CUtensorMapSwizzle swizzle) {
    if (!d->encode) return cudaErrorSymbolNotFound;
    const cuuint64_t sizes[3] = {cuuint64_t(size[0]), cuuint64_t(size[1]), cuuint64_t(size[2])};
    const cuuint64_t strides[2] = {cuuint64_t(stride[0]) * bytes, cuuint64_t(stride[1]) * bytes};
    const cuuint32_t box[3] = {cuuint32_t(cols), cuuint32_t(rows), cuuint32_t(planes)}, step[3] = {1, 1, 1};
    const CUresult r =
        d->encode(map, type, 3, const_cast<void *>(x), sizes, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

} // namespace

int tensor_map(const ll_device *device, CUtensorMap *map, const void *x, int64_t tokens, int heads, int d, int rows) {
    return encode(device, map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, x, {d, heads, tokens}, {d, int64_t(heads) * d}, 64,
                  1, rows, CU_TENSOR_MAP_SWIZZLE_128B);
}

int sums_map(const ll_device *device, CUtensorMap *map, const void *x, int64_t tokens, int heads, int d, int rows) {
    return encode(device, map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, x, {d, heads, tokens}, {d, int64_t(heads) * d}, 32,
                  1, rows, CU_TENSOR_MAP_SWIZZLE_128B);
}

int stats_map(const ll_device *device, CUtensorMap *map, const float *x, int64_t t, int64_t stride, int heads, int n) {
    return encode(device, map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, x, {t, heads, 2}, {stride, stride * heads}, n, 1, 2,
                  CU_TENSOR_MAP_SWIZZLE_NONE);
}

} // namespace sm90
