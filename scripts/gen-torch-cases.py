#!/usr/bin/env python3
"""Writes internal/ckpt/testdata/torch/form-*.bin: the same two tensors in every form in which torch.save writes them.

a is float32 [[0, 1, 2], [3, 4, 5]], b is bfloat16 [[0, 2, 4], [1, 3, 5]], the transpose of a dense one. Run in the
repository's root with torch 2.15 (pip install torch==2.15.0); other releases may write other bytes with the same meaning.
"""
import collections
import io
import pathlib

import torch

OUT = pathlib.Path("internal/ckpt/testdata/torch")


def tensors():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6.0).bfloat16().reshape(3, 2).t()}


def save(name, obj, **kw):
    buf = io.BytesIO()  # so that no name of a file stands in the zip
    torch.save(obj, buf, **kw)
    (OUT / f"form-{name}.bin").write_bytes(buf.getvalue())


def parameters(attributes):
    out = {}
    for k, t in tensors().items():
        out[k] = torch.nn.Parameter(t)
        if attributes:
            out[k].partition_dim = 0
    return out


def main():
    save("plain", tensors())
    save("legacy", tensors(), _use_new_zipfile_serialization=False)
    for p in (1, 4, 5):
        save(f"protocol{p}", tensors(), pickle_protocol=p)
    save("ordered", collections.OrderedDict(tensors()))
    save("parameters", parameters(False))
    save("parameters-with-state", parameters(True))
    attributed = tensors()
    for t in attributed.values():
        t.note = {"kept": [1, 2]}
    save("tensors-with-state", attributed)
    save("beside", dict(tensors(), global_step=17, lr=1e-3, done=True, big=1 << 70, none=None, name="run", size=torch.Size([1, 2]),
                        device=torch.device("cpu"), kind=torch.float16, more={"list": [1, (2, 3)], "set": {4}}))
    save("other-types", dict(tensors(), u16=torch.zeros(2, dtype=torch.uint16), f8=torch.zeros(2).to(torch.float8_e4m3fn), c=torch.zeros(2, dtype=torch.complex64)))
    save("nested", {"module": tensors(), "global_step": 17})
    torch.serialization.set_crc32_options(False)
    save("without-sums", tensors())
    torch.serialization.set_crc32_options(True)


if __name__ == "__main__":
    main()
