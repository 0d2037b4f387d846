#!/usr/bin/env python3
"""Makes the reference cases of testdata/golden again: random models, PEFT adapters, and what transformers, PEFT and a plain
S²-Attn (s2.py) compute with them, in float32 on one thread.

  python3 -m venv env; env/bin/pip install -r scripts/golden/requirements.txt
  env/bin/python scripts/golden/make.py            # all cases, and their hashes in SHA256SUMS
  env/bin/python scripts/golden/make.py ragged     # this one alone, and the hashes again
  env/bin/python scripts/golden/make.py --check    # makes them elsewhere and compares: exit 1 where one differs

The same versions give the same bits on any x86-64 processor: every library that would choose kernels by what the processor can
is held to the oldest instructions (PINNED). --check says by how much a file differs. Cases are the table in cases.py."""
import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings

# One thread, and kernels that do not depend on the processor: PyTorch's own, MKL's, oneDNN's, NumPy's and the C library's.
# Most are read when a library is loaded, the last one before the program begins, so the program starts itself again.
PINNED = dict(
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false",
    ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE", ONEDNN_MAX_CPU_ISA="SSE41", OPENBLAS_CORETYPE="Nehalem",
    NPY_DISABLE_CPU_FEATURES="AVX2 FMA3", GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4")
if any(os.environ.get(k) != v for k, v in PINNED.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PINNED)
warnings.filterwarnings("ignore")
import peft
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

import nf4
import s2
import wide
from cases import CASES

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../testdata/golden")
RANK, ALPHA, LR, STRIDE = 4, 8, 2e-3, 64


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def load(case, path, attention="eager"):
    return getattr(transformers, case.kind).from_pretrained(path, dtype=torch.float32, attn_implementation=attention)


def make_model(case, path):
    """A random model whose norms and biases are not what they would start from."""
    torch.manual_seed(case.seed)
    kind = getattr(transformers, case.kind)
    m = kind(kind.config_class(**case.config))
    with torch.no_grad():
        for name, p in m.named_parameters():
            if name.endswith("bias"):
                p.normal_(0, 0.1)
            elif p.dim() == 1:
                p.normal_(1, 0.2)
    m.save_pretrained(path)
    if case.spelled:
        with open(path + "/config.json") as f:
            c = json.load(f)
        write_json(path + "/config.json", c | case.spelled)
    if case.old_spelling:
        respell(path + "/config.json")


def respell(path):
    """config.json as transformers wrote it until 2025."""
    with open(path) as f:
        c = json.load(f)
    rope = c.pop("rope_parameters")
    c.pop("head_dim")
    c.update(rope_theta=rope.pop("rope_theta"), torch_dtype=c.pop("dtype"))
    c["rope_scaling"] = {"type": rope.pop("rope_type"), **rope}
    write_json(path, c)


def make_adapter(case, model, path):
    """A PEFT adapter with every factor away from zero, beside embedding and norms saved whole."""
    torch.manual_seed(case.seed + 100)
    tied = case.config["tie_word_embeddings"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules=case.targets, ensure_weight_tying=tied,
                             modules_to_save=[case.embed, *case.norms])
    m = peft.get_peft_model(load(case, model), config)
    with torch.no_grad():
        for name, p in m.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.05)
    save_adapter(m, path)


def save_adapter(m, path):
    m.save_pretrained(path)
    os.remove(path + "/README.md")
    with open(path + "/adapter_config.json") as f:
        c = json.load(f)
    c["base_model_name_or_path"] = None  # a folder of the machine that made it
    c["target_modules"].sort()
    write_json(path + "/adapter_config.json", c)


def adapted(case, model, adapter, attention):
    return peft.PeftModel.from_pretrained(load(case, model, attention), adapter, is_trainable=True)


def summed_loss(m, ids, first_label=1):
    """The sum of -log p over a document's tokens from first_label on (an answer after its prompt), and how many they are."""
    logits = m(input_ids=ids[None]).logits[0].float()
    return F.cross_entropy(logits[first_label - 1:-1], ids[first_label:], reduction="sum"), len(ids) - first_label


def mean_loss(m, documents):
    """The mean over all scored tokens of documents, each alone: nothing of a document is seen from another one."""
    parts = [summed_loss(m, ids, first) for ids, first in documents if len(ids) > first]
    return sum(p[0] for p in parts) / sum(p[1] for p in parts)


def batch_loss(m, ids, rows):
    """transformers' own loss of a batch whose rows are padded on the right and masked there; rows follow each other in ids."""
    start = [sum(rows[:i]) for i in range(len(rows))]
    pad = lambda fill, parts: torch.stack([F.pad(p, (0, max(rows) - len(p)), value=fill) for p in parts])
    parts = [ids[s:s + n] for s, n in zip(start, rows)]
    return m(input_ids=pad(0, parts), attention_mask=pad(0, [torch.ones_like(p) for p in parts]), labels=pad(-100, parts)).loss


def step(case, m, kind, ids):
    """The loss of a kind, and its gradients by name."""
    mode = "split" if kind in ("sft", "docs") else kind.removeprefix("batch.")
    with s2.attending(mode, case.group):
        loss = batch_loss(m, ids, case.rows) if kind.startswith("batch.") else mean_loss(m, documents(case, kind, ids))
        loss.backward()
    return loss.item(), gradients(m, kind)


def attention_of(kind):
    return "eager" if kind in ("full", "batch.full") else "s2"


def in_bfloat16(case, out, ids, kinds, exact):
    """What PyTorch is off by when everything is bfloat16: of each kind the loss, and each gradient as |a-b|/|b|. To two digits,
    which no processor changes by much."""
    off = {}
    for kind in kinds:
        loss, grads = step(case, adapted(case, out + "/model", out + "/adapter-init", attention_of(kind)).to(torch.bfloat16), kind, ids)
        off[kind] = {"loss": float(f"{abs(loss - exact[kind][0]):.2g}")}
        for name, want in exact[kind][1].items():
            error = ((grads[name].float() - want).norm() / want.norm()).item()
            off[kind][name.removeprefix(f"grad.{kind}.")] = float(f"{error:.2g}")
    write_json(out + "/bf16.json", off)


def documents(case, kind, ids):
    """What a reference loss is of: documents with the index of their first scored token."""
    if kind == "sft":
        return [(ids[at:at + n], prompt) for at, n, prompt in zip([0, case.ctx], sft_lengths(case), SFT_PROMPT)]
    if kind == "docs":
        ends = torch.tensor(case.docs).cumsum(0).tolist()
        return [(ids[end - n:end], 1) for end, n in zip(ends, case.docs)]
    return [(ids[:case.ctx], 1)]


SFT_PROMPT = [40, 25]


def sft_lengths(case):
    return [case.ctx, case.ctx - 37]


def trained_name(name):
    """A parameter's name as this program has it."""
    for part in ("base_model.model.", ".default", ".modules_to_save"):
        name = name.replace(part, "")
    return name


def gradients(m, kind):
    """Gradients by name, each once; a tied head is its embedding."""
    out, seen = {}, set()
    for name, p in m.named_parameters():
        if p.requires_grad and p.grad is not None and id(p) not in seen:
            seen.add(id(p))
            out[f"grad.{kind}.{trained_name(name)}"] = p.grad.clone()
    return out


def trainable(m):
    return list({id(p): p for p in m.parameters() if p.requires_grad}.values())


def train(case, m, ids, mode):
    """AdamW by PyTorch over rows of ctx tokens; the losses and gradient norms of the steps, and the first step's gradients."""
    ps = trainable(m)
    kept = [p for p in ps if p.dim() > 1 or case.full_tune and id(p) not in norms_of(m)]
    groups = [dict(params=kept, weight_decay=case.decay), dict(params=[p for p in ps if all(p is not k for k in kept)], weight_decay=0.0)]
    opt = torch.optim.AdamW([g for g in groups if g["params"]], lr=LR, betas=(0.9, 0.95), eps=1e-8)
    losses, sizes, first = [], [], {}
    for step in range(case.steps):
        loss = mean_loss(m, [(ids[step * case.ctx:(step + 1) * case.ctx], 1)])
        loss.backward()
        if not first:
            first = gradients(m, mode)
        losses.append(loss.item())
        sizes.append(torch.nn.utils.clip_grad_norm_(ps, 1.0).item())
        opt.step()
        opt.zero_grad()
    return losses, sizes, first


def norms_of(m):
    return {id(p) for name, p in m.named_parameters() if "norm" in name}


def perplexity(m, ids, ctx):
    """The mean loss over windows [i, i+ctx) for i = 0, STRIDE, …, i < len - ctx, without the last of them."""
    with torch.no_grad():
        windows = [mean_loss(m, [(ids[i:i + ctx], 1)]).item() for i in list(range(0, len(ids) - ctx, STRIDE))[:-1]]
    mean = sum(windows) / len(windows)
    return {"stride": STRIDE, "windows": len(windows), "mean_loss": mean, "ppl": float(torch.tensor(mean, dtype=torch.float64).exp()), "losses": windows}


def logits(m, ids):
    with torch.no_grad():
        return m(input_ids=ids[None]).logits[0, ::8].clone()


def spans(case, out, expected, tensors):
    """The fields that only some cases have."""
    if "sft" in case.kinds:
        expected["sft"] = {"lengths": sft_lengths(case), "prompt": SFT_PROMPT, "row_starts": [0, case.ctx]}
    if case.docs:
        expected["docs"] = list(case.docs)
    if case.rows:
        expected["rows"] = list(case.rows)
    if case.merged:
        release(case, out, tensors)
    if case.greedy:
        write_merged(case, out)


PROMPT, GREEDY = 48, 40


def write_merged(case, out):
    """What PEFT's merge of the trained adapter computes: the loss over the windows of ppl, and greedy tokens after that prompt of
    the stream where the first choice is furthest ahead of the second at its closest, so that rounding does not decide."""
    m = adapted(case, out + "/model", out + "/adapter-trained", "eager").merge_and_unload()
    ids = read_tokens(out)
    starts = range(0, len(ids) - PROMPT, 10)
    ahead, tokens = continued(m, torch.stack([ids[at:at + PROMPT] for at in starts]))
    varied = [len(set(row)) >= GREEDY // 5 for row in tokens.tolist()]
    best = max(range(len(starts)), key=lambda i: (varied[i], ahead[i].item()))
    write_json(out + "/merged.json", {"loss": perplexity(m, ids, case.ctx)["mean_loss"], "prompt": [starts[best], starts[best] + PROMPT],
                                      "greedy": tokens[best].tolist(), "ahead": ahead[best].item()})


def continued(m, ids):
    """The greedy tokens after each row of ids, and by how much the first choice was ahead of the second where it was least."""
    ahead = torch.full((len(ids),), float("inf"))
    with torch.no_grad():
        for _ in range(GREEDY):
            top = m(input_ids=ids).logits[:, -1].topk(2)
            ahead = torch.minimum(ahead, top.values[:, 0] - top.values[:, 1])
            ids = torch.cat([ids, top.indices[:, :1]], dim=1)
    return ahead, ids[:, -GREEDY:]


def release(case, out, tensors):
    """PEFT's merge of the trained adapter, and the adapter in the form in which LongLoRA was released."""
    trained = out + "/adapter-trained"
    m = adapted(case, out + "/model", trained, "eager").merge_and_unload()
    m.save_pretrained(out + "/merged")
    ids = read_tokens(out)[:case.ctx]
    tensors["logits.merged.full"] = logits(m, ids)
    tensors["logits.trained.full"] = logits(adapted(case, out + "/model", trained, "eager"), ids)
    os.makedirs(out + "/adapter-longlora")
    state = load_file(trained + "/adapter_model.safetensors")
    torch.save({k: v for k, v in state.items() if "lora_" in k}, out + "/adapter-longlora/adapter_model.bin")
    whole = {trained_name(k): v for k, v in state.items() if "lora_" not in k and "lm_head" not in k}
    torch.save(whole, out + "/adapter-longlora/trainable_params.bin")
    with open(trained + "/adapter_config.json") as f:
        config = json.load(f)
    config.update(modules_to_save=None, ensure_weight_tying=False)
    write_json(out + "/adapter-longlora/adapter_config.json", config)


def read_tokens(out):
    with open(out + "/tokens.bin", "rb") as f:
        return torch.frombuffer(bytearray(f.read()), dtype=torch.uint16).long()


def write_tokens(case, out):
    """A stream with some order in it: every second token follows from the one before."""
    g = torch.Generator().manual_seed(case.seed + 200)
    vocab = case.config["vocab_size"]
    ids = torch.randint(3, vocab, (case.tokens,), generator=g)
    ids[1::2] = 3 + (ids[0::2][:len(ids[1::2])] * 7 + 1) % (vocab - 3)
    with open(out + "/tokens.bin", "wb") as f:
        f.write(ids.to(torch.uint16).numpy().tobytes())


def make(case, out):
    os.makedirs(out)
    write_tokens(case, out)
    make_model(case, out + "/model")
    stored = nf4.quantise(out + "/model", case.nf4 == "double") if case.nf4 else None
    ids = read_tokens(out)
    expected = {"case": case.name, "ctx": case.ctx, "group": case.group, "lr": LR, "steps": case.steps, "betas": [0.9, 0.95], "eps": 1e-8,
                "weight_decay": case.decay, "clip": 1.0, "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft)}}
    base = load(case, out + "/model")
    tensors = {"logits.full": logits(base, ids[:case.ctx])}
    expected["ppl"] = perplexity(base, ids, case.ctx)
    if case.full_tune:
        whole(case, out, ids, expected, tensors)
    else:
        with_adapter(case, out, ids, expected, tensors)
    spans(case, out, expected, tensors)
    if stored:
        nf4.put(out + "/model", *stored)
    write_json(out + "/expected.json", expected)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out + "/expected.safetensors")


def whole(case, out, ids, expected, tensors):
    """Every weight trained, under full attention."""
    m = load(case, out + "/model")
    losses, sizes, first = train(case, m, ids, "full")
    expected.update({"loss.full": losses[0], "train": {"mode": "full", "losses": losses, "grad_norms": sizes}})
    tensors.update(first)
    tensors.update({"trained." + name: p.detach() for name, p in m.named_parameters()})


def with_adapter(case, out, ids, expected, tensors):
    expected.update(rank=RANK, alpha=ALPHA, targets=case.targets)
    make_adapter(case, out + "/model", out + "/adapter-init")
    family = case.name.startswith("families/")  # smaller: gradients under S²-Attn alone
    kinds = case.kinds + (("docs",) if case.docs else ()) + (("batch.full", "batch.split") if case.rows else ())
    exact = {}
    for kind in kinds:
        m = adapted(case, out + "/model", out + "/adapter-init", attention_of(kind))
        exact[kind] = step(case, m, kind, ids)
        expected["loss." + kind] = exact[kind][0]
        if not family or kind == "split":
            tensors.update(exact[kind][1])
        if kind in ("split", "roll") and not family:
            with s2.attending(kind, case.group):
                tensors["logits." + kind] = logits(m, ids[:case.ctx])
    in_bfloat16(case, out, ids, kinds, exact)
    m = adapted(case, out + "/model", out + "/adapter-init", "s2")
    with s2.attending("split", case.group):
        losses, sizes, _ = train(case, m, ids, "split")
    expected["train"] = {"mode": "split", "losses": losses, "grad_norms": sizes}
    save_adapter(m, out + "/adapter-trained")


def files(root):
    for folder, _, names in sorted(os.walk(root)):
        for n in sorted(names):
            yield os.path.relpath(os.path.join(folder, n), root)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def differs(a, b):
    """In words how two files of a case differ; "" where they are the same."""
    if not os.path.exists(b):
        return "is not in testdata"
    if digest(a) == digest(b):
        return ""
    if a.endswith(".safetensors"):
        x, y = load_file(a), load_file(b)
        if x.keys() == y.keys() and all(x[k].shape == y[k].shape for k in x):
            return f"differs by at most {max((x[k] - y[k]).abs().max().item() for k in x):.2g}"
    return "differs"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true", help="compare with testdata instead of writing it")
    names = [c.name for c in CASES] + ["wide-vocab"]
    p.add_argument("cases", nargs="*", choices=names + [[]], metavar="CASE", help="only these")
    args = p.parse_args()
    wanted = args.cases or names
    with tempfile.TemporaryDirectory() as tmp:
        for case in CASES:
            if case.name in wanted:
                print(case.name, flush=True)
                make(case, os.path.join(tmp, case.name))
        if "wide-vocab" in wanted:
            wide.make(os.path.join(tmp, "wide-vocab"))
        made = list(files(tmp))
        if args.check:
            bad = [f"{f} {d}" for f in made if (d := differs(os.path.join(tmp, f), os.path.join(GOLDEN, f)))]
            print("\n".join(bad) or f"{len(made)} files, all the same")
            sys.exit(bool(bad))
        for name in wanted:
            shutil.rmtree(os.path.join(GOLDEN, name), ignore_errors=True)
            shutil.copytree(os.path.join(tmp, name), os.path.join(GOLDEN, name))
        with open(os.path.join(GOLDEN, "SHA256SUMS"), "w") as f:
            f.writelines(f"{digest(os.path.join(GOLDEN, n))}  {n}\n" for n in files(GOLDEN) if any(n.startswith(c + "/") for c in names))


main()
