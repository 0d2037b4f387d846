#!/usr/bin/env python3
"""How fast one process copies from memory that another one has on another GPU (CUDA IPC), alone and beside products:
what sharded weights rest on. Needs two GPUs and PyTorch.

    python3 scripts/bench-peer.py
"""
import time

import torch
import torch.multiprocessing as mp

COPIES = 8


def reader(given, back):
    torch.cuda.set_device(1)
    theirs = given.get()  # a tensor of the other process, on cuda:0
    mine, side = torch.empty_like(theirs, device="cuda:1"), torch.cuda.Stream()

    def copies(n):
        with torch.cuda.stream(side):
            for _ in range(n):
                mine.copy_(theirs, non_blocking=True)

    copies(2)
    side.synchronize()
    begun = time.time()
    copies(COPIES)
    side.synchronize()
    rate = COPIES * theirs.numel() * theirs.element_size() / (time.time() - begun) / 1e9
    a = torch.randn(8192, 8192, device="cuda:1", dtype=torch.bfloat16)

    def products(n):
        torch.cuda.synchronize()
        begun = time.time()
        for _ in range(n):
            a @ a
        torch.cuda.current_stream().synchronize()
        return time.time() - begun

    products(5)
    alone = products(40)
    copies(40)
    back.put((rate, bool(torch.equal(mine.cpu(), theirs.cpu())), alone, products(40)))


if __name__ == "__main__":
    mp.set_start_method("spawn")
    print("each reads the other's memory:", torch.cuda.can_device_access_peer(0, 1), torch.cuda.can_device_access_peer(1, 0))
    given, back = mp.Queue(), mp.Queue()
    p = mp.Process(target=reader, args=(given, back))
    p.start()
    t = torch.arange(1 << 28, dtype=torch.int32, device="cuda:0")  # 1 GiB
    torch.cuda.synchronize()
    given.put(t)
    rate, same, alone, beside = back.get(timeout=120)
    print(f"{rate:.0f} GB/s, equal: {same}; 40 products {alone * 1e3:.1f} ms alone, {beside * 1e3:.1f} ms beside copies")
    p.join(10)
