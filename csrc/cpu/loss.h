// The loss of a row of logits, and its gradient: ops.Losses.

// The loss of one row of n logits and, with grad, scale·(softmax - onehot(target)) in place. Returns -log p.
// best, when wanted, is the lowest index of the largest logit. NaN and Inf come through as NaN.
float FN(softmax)(const ll_softmax_t *a, int32_t *best) {
    float *row = a->row, scale = a->scale;
    int64_t n = a->n;
    int32_t target = a->target, grad = a->grad;
    if (a->cap) {
        const V in = vset(1 / a->cap), out = vset(a->cap);
        int64_t j = 0;
        for (; j + VL <= n; j += VL) vstore(row + j, out * vtanh(vload(row + j) * in));
        if (j < n) vpartstore(row + j, out * vtanh(vpart(row + j, n - j, 0) * in), n - j);
    }
    V m = vset(-INFINITY);
    int32_t keep = grad && !a->cap;
    int64_t i = 0;
    for (; i + VL <= n; i += VL) m = vmax(vload(row + i), m);
    float top = -INFINITY;
    for (int l = 0; l < VL; l++) top = m[l] > top ? m[l] : top;
    for (; i < n; i++) top = row[i] > top ? row[i] : top;
    if (best) {
        *best = 0;
        for (int64_t j = 0; j < n; j++)
            if (row[j] == top) {
                *best = (int32_t)j;
                break;
            }
    }
    if (target < 0) return 0;
    float hit = row[target], tail = 0;
    V sum = vset(0);
    const V t = vset(top);
    for (i = 0; i + VL <= n; i += VL) {
        V e = vexp(vload(row + i) - t);
        sum += e;
        if (keep) vstore(row + i, e);
    }
    if (i < n) {
        V e = vexp(vpart(row + i, n - i, -INFINITY) - t);
        tail = vsum(e);
        if (keep) vpartstore(row + i, e, n - i);
    }
    float z = vsum(sum) + tail;
    if (grad && a->cap) { // times the slope of the cap, 1 - (z/cap)²
        const V by = vset(1 / a->cap), f = vset(scale / z);
        for (i = 0; i < n; i += VL) {
            int64_t c = n - i;
            V x = c >= VL ? vload(row + i) : vpart(row + i, c, -INFINITY), y = x * by;
            V g = vexp(x - t) * f * (vset(1) - y * y);
            if (c >= VL) vstore(row + i, g);
            else vpartstore(row + i, g, c);
        }
        row[target] -= scale * (1 - hit / a->cap * (hit / a->cap));
    } else if (grad) {
        float f = scale / z;
        for (i = 0; i + VL <= n; i += VL) vstore(row + i, vload(row + i) * f);
        for (; i < n; i++) row[i] *= f;
        row[target] -= scale;
    }
    return logf(z) + (top - hit);
}
