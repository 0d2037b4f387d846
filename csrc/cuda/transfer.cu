// Conversion between the three float types, copies and sums of rows: ops.Transfer. Conversion goes by float32, which
// holds every half and bfloat16, so each element is rounded once.
#include "device.cuh"

namespace ll {

template <class D, class S> struct Convert {
    D *dst;
    const S *src;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        float f[GROUP];
        load8<VEC>(f, src + i, n);
        store8<VEC>(dst + i, f, n);
    }
};

template <class D, class S> static int convert(void *dst, const void *src, int64_t n, ll_stream s) {
    return flat(Convert<D, S>{(D *)dst, (const S *)src}, n, aligned(0, dst, src), s);
}

template <class D> static int convert_to(void *dst, const void *src, int sdt, int64_t n, ll_stream s) {
    switch (sdt) {
    case LL_F32: return convert<D, float>(dst, src, n, s);
    case LL_BF16: return convert<D, bf16>(dst, src, n, s);
    case LL_F16: return convert<D, f16>(dst, src, n, s);
    }
    return cudaErrorInvalidValue;
}

// Element i of all rows laid end to end; a group lies in one row where VEC, whose columns are then whole groups.
struct AddRows {
    ll_add_rows_args a;
    template <bool VEC> __device__ void run(int64_t i, int64_t n) const {
        if (VEC) {
            const int64_t r = i / a.cols, c = i % a.cols;
            float *to = a.dst + r * a.dpitch + c, x[GROUP], y[GROUP];
            load8<true>(x, a.src + r * a.spitch + c, GROUP);
            load8<true>(y, to, GROUP);
#pragma unroll
            for (int k = 0; k < GROUP; k++) y[k] += x[k];
            store8<true>(to, y, GROUP);
            return;
        }
        for (int64_t k = i; k < i + min(n, (int64_t)GROUP); k++)
            a.dst[k / a.cols * a.dpitch + k % a.cols] += a.src[k / a.cols * a.spitch + k % a.cols];
    }
};

} // namespace ll

extern "C" int ll_convert(ll_device *, ll_stream s, const ll_convert_args *a) {
    if (a->n <= 0) return cudaSuccess;
    if (a->ddt == a->sdt) // the bits as they are, NaNs' too
        return cudaMemcpyAsync(a->dst, a->src, a->n * (a->ddt == LL_F32 ? 4 : 2), cudaMemcpyDeviceToDevice,
                               (cudaStream_t)s);
    switch (a->ddt) {
    case LL_F32: return ll::convert_to<float>(a->dst, a->src, a->sdt, a->n, s);
    case LL_BF16: return ll::convert_to<ll::bf16>(a->dst, a->src, a->sdt, a->n, s);
    case LL_F16: return ll::convert_to<ll::f16>(a->dst, a->src, a->sdt, a->n, s);
    }
    return cudaErrorInvalidValue;
}

extern "C" int ll_copy(ll_device *, ll_stream s, const ll_copy_args *a) {
    cudaStream_t stream = (cudaStream_t)s;
    if (a->width == 0 || a->rows == 0) return cudaSuccess;
    if (a->dpitch == a->width && a->spitch == a->width)
        return cudaMemcpyAsync(a->dst, a->src, a->width * a->rows, cudaMemcpyDefault, stream);
    return cudaMemcpy2DAsync(a->dst, a->dpitch, a->src, a->spitch, a->width, a->rows, cudaMemcpyDefault, stream);
}

extern "C" int ll_add_rows(ll_device *, ll_stream s, const ll_add_rows_args *a) {
    const bool vec = (a->cols | a->dpitch | a->spitch) % ll::GROUP == 0 && ll::aligned(0, a->dst, a->src);
    return ll::flat(ll::AddRows{*a}, a->rows * a->cols, vec, s);
}
