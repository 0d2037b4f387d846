#!/usr/bin/env python3
"""Judges --sequence-ranks on the devices that are here: ranks that divide each row against one process, on reference cases.

    python3 scripts/check-chains.py bin/longlora-cuda --device cuda --ranks 2,4

Several ranks share one GPU where NCCL is 2.30.3 or later (LONGLORA_NCCL names its file). Each case is trained for two steps,
by one process and by each number of ranks, twice: the first step's loss, its gradient norm and the gradient of every tensor
(AdamW's first moment, with beta1 = 0) are compared, and the two runs' adapters bit by bit. In float32, on the CPU, the limit
is 1e-6, of a gradient's norm and a tenth of all gradients' together, since little is left of sums that cancel; in bfloat16 it is
what rounding to 8 bits in another order may leave: 2e-3 of the loss, 2e-2 of a gradient. Exit 1 where something is off.
"""
import argparse, json, os, shutil, struct, subprocess, sys, tempfile

CASES = [  # name, options: groups, cuts between spans, full attention, windows, caps, fused matrices, tiles
    ("mha-linear", ["--ctx=128"]),
    ("gqa-llama3", ["--ctx=128", "--group=0.3"]),
    ("gqa-llama3", ["--ctx=128", "--attn=full"]),
    ("odd-heads-yarn", ["--ctx=125", "--full-last=0.5"]),
    ("ragged-window", ["--ctx=61"]),
    ("families/gemma2", ["--ctx=64"]),
    ("families/phi3", ["--ctx=64", "--batch=2"]),
    ("families/gpt-neox", ["--ctx=64"]),
    ("gqa-llama3", ["--ctx=128", "--full-last=0.5", "--tile=16", "--keep-activations=input"]),
    ("mha-linear", ["--ctx=125", "--batch=2", "--tile=24", "--keep-activations=attn"]),
    ("families/gemma2", ["--ctx=64", "--tile=8"]),
    ("families/gpt-neox", ["--ctx=64", "--tile=9", "--keep-activations=out"]),
]


def tensors(path):
    """name: values of a float32 safetensors file"""
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    return {k: struct.unpack("<%df" % ((v["data_offsets"][1] - v["data_offsets"][0]) // 4), data[slice(*v["data_offsets"])])
            for k, v in head.items() if k != "__metadata__"}


def norm(x):
    return sum(v * v for v in x) ** 0.5


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binary")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--ranks", default="2,3")
    p.add_argument("--golden", default=os.path.join(os.path.dirname(__file__), "..", "testdata", "golden"))
    a = p.parse_args()
    exact = a.device == "cpu"
    env = dict(os.environ, NCCL_MULTI_RANK_GPU_ENABLE="1")
    work, bad = tempfile.mkdtemp(), 0

    def train(name, options, out, ranks):
        case = os.path.join(a.golden, name)
        run = subprocess.run([a.binary, "train", "--model", case + "/model", "--data", case + "/tokens.bin", "--device", a.device,
                              "--steps=2", "--accum=2", "--warmup-steps=0", "--save-every=1", "--keep=9", "--beta1=0",
                              "--max-grad-norm=0", "--lr=1e-3", "--base-ctx=32", "--out", out, *options,
                              *(["--gpus=%d" % ranks, "--sequence-ranks=%d" % ranks] if ranks > 1 else [])],
                             env=env, capture_output=True, text=True, timeout=120)
        if run.returncode:
            raise RuntimeError("exit %d: %s" % (run.returncode, run.stderr[-800:]))
        with open(out + "/metrics.jsonl") as f:
            return json.loads(f.readline()), tensors(out + "/checkpoints/step-000001/optimizer.safetensors")

    for name, options in CASES:
        one = tempfile.mkdtemp(dir=work) + "/out"
        try:
            line, ref = train(name, options, one, 1)
        except RuntimeError as e:
            print("%s %s, one process: %s" % (name, " ".join(options), e))
            bad += 1
            continue
        total = norm([v for k, x in ref.items() if k.startswith("m.") for v in x])
        for ranks in map(int, a.ranks.split(",")):
            what = "%s %s, %d ranks" % (name, " ".join(options), ranks)
            try:
                outs = [tempfile.mkdtemp(dir=work) + "/out" for _ in range(2)]
                got, moments = train(name, options, outs[0], ranks)
                train(name, options, outs[1], ranks)
            except RuntimeError as e:
                print("%s: %s" % (what, e))
                bad += 1
                continue
            loss = abs(got["loss"] / line["loss"] - 1)
            worst, at = 0.0, ""
            for k, x in ref.items():
                if k.startswith("m."):
                    off = norm([u - v for u, v in zip(moments[k], x)])
                    off /= norm(x) + (0.1 if exact else 0.01) * total
                    if not off <= worst:
                        worst, at = off, k
            same = open(outs[0] + "/adapter_model.safetensors", "rb").read() == open(outs[1] + "/adapter_model.safetensors", "rb").read()
            fine = loss <= (1e-6 if exact else 2e-3) and worst <= (1e-6 if exact else 2e-2) and same
            bad += not fine
            print("%-4s %s: loss %.1e, worst gradient %.1e (%s)%s" % ("ok" if fine else "BAD", what, loss, worst, at,
                  "" if same else ", other bits the second time"))
    shutil.rmtree(work)
    sys.exit(bad > 0)


main()
