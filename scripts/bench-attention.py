#!/usr/bin/env python3
"""FlashAttention-2 and cuDNN through PyTorch: the other side of `cuda.test -test.bench Attention`.

Causal, bf16, head size 128, 32 heads, 32,768 tokens in groups; TFLOP/s count 4·D operations for a query and a key that
it sees, and 2.5 times that backward. Medians over repeats on random data, one JSON line each.
"""
import json, statistics, torch, torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

def timed(fn, n=12, warm=3):
    for _ in range(warm): fn()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(n)]
    for begin, end in pairs:
        begin.record(); fn(); end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs) / 1e3

for group in (2048, 8192, 32768):
    q, k, v = (torch.randn(32768 // group, 32, group, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    do, ops = torch.randn_like(q), 4 * 128 * 32 * 32768 * group / 2
    for name, backend in (("FlashAttention-2", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
        with sdpa_kernel(backend):
            forward = timed(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            backward = timed(lambda: torch.autograd.grad(o, (q, k, v), do, retain_graph=True))
        print(json.dumps(dict(what=name, group=group, fwd_tflops=round(ops / forward / 1e12, 1),
              bwd_tflops=round(2.5 * ops / backward / 1e12, 1), device=torch.cuda.get_device_name())), flush=True)
