#!/usr/bin/env python3
"""Makes testdata/peft: small adapters in every form that PEFT writes, and what PEFT computes with them.

Made with torch 2.15.0, transformers 5.17.0, peft 0.21.2, safetensors 0.8.0; other releases refuse to run unless asked to.

  python3 scripts/gen-peft-cases.py testdata/peft

base, tied, two and biased are random models of 2 layers: embedding and head apart, as one tensor, config.json saying one
where the file has two, and with attention_bias. cases/NAME is an adapter, moved by noise as training would. expected.json has for each the loss under
PeftModel.from_pretrained: windows of 24 tokens, the last left out, the mean over windows of the mean over 23 predictions,
log-softmax in float64, over the base's vocabulary. Some have "steps": the losses of 3 steps of AdamW (0.9, 0.95, eps 1e-8,
rate 0.01, no decay, no clipping) from the adapter on, row s = tokens [24s, 24s + 24), full attention, and "after", the loss by
windows then. "resume" is the field that training does not go on from. names.json has what PEFT's own functions say of the names of modules.
"""
import json, os, shutil, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, peft, safetensors, torch, transformers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
from peft.utils.other import ModulesToSaveWrapper, _set_trainable, get_pattern_key
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

out, made_with = sys.argv[1], {"torch": "2.15.0", "transformers": "5.17.0", "peft": "0.21.2", "safetensors": safetensors.__version__}
here = {m.__name__: m.__version__.split("+")[0] for m in (torch, transformers, peft, safetensors)}
if here != made_with and "ANY_RELEASE" not in os.environ: sys.exit(f"made with {made_with}, here is {here}; set ANY_RELEASE to go on")
transformers.logging.set_verbosity_error(); transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
V, CTX = 40, 24
shutil.rmtree(out, ignore_errors=True); os.makedirs(out + "/cases")
load = lambda name: LlamaForCausalLM.from_pretrained(f"{out}/{name}", dtype=torch.float32)


def base(name, tied, **more):
    torch.manual_seed(7)
    m = LlamaForCausalLM(LlamaConfig(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                                     max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=2, **more))
    with torch.no_grad():
        for p in m.parameters(): p.normal_(0, .3) if p.dim() > 1 else p.uniform_(.7, 1.3)  # biases too
    m.save_pretrained(f"{out}/{name}"); os.remove(f"{out}/{name}/generation_config.json")


def shake(m):
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in m.parameters():
            if p.requires_grad: p.add_(torch.randn(p.shape, generator=g) * .2)


def loss(m):
    m.eval(); ls = []
    with torch.no_grad():
        for i in list(range(0, len(tokens) - CTX, CTX))[:-1]:
            w = torch.tensor(tokens[i:i + CTX].astype("int64"))[None]
            ls.append(torch.nn.functional.cross_entropy(m(input_ids=w).logits[0, :, :V].double()[:-1], w[0, 1:]).item())
    return float(np.mean(ls))


def onward(model, d):
    """Losses of three steps from an adapter on, and the loss after them."""
    pm = PeftModel.from_pretrained(load(model), d, is_trainable=True).train(); ls = []
    opt = torch.optim.AdamW([p for p in pm.parameters() if p.requires_grad], lr=.01, betas=(.9, .95), eps=1e-8, weight_decay=0)
    for s in range(3):
        w = torch.tensor(tokens[s * CTX:(s + 1) * CTX].astype("int64"))[None]
        l = torch.nn.functional.cross_entropy(pm(input_ids=w).logits[0, :-1], w[0, 1:]); opt.zero_grad(); l.backward(); opt.step(); ls.append(l.item())
    return {"steps": ls, "after": loss(pm)}


base("base", False); base("tied", True); base("two", True); base("biased", False, attention_bias=True)
s = load_file(out + "/two/model.safetensors"); e = s["model.embed_tokens.weight"]
s["lm_head.weight"] = e + .3 * torch.randn(e.shape, generator=torch.Generator().manual_seed(3)); save_file(s, out + "/two/model.safetensors", {"format": "pt"})
tokens = np.random.default_rng(1).integers(3, V, 4 * CTX + 1).astype("<u2"); tokens.tofile(out + "/tokens.bin")

QV, E, H = ["q_proj", "v_proj"], "embed_tokens", "lm_head"
# name: base, LoraConfig, tokens that the vocabulary grew by, arguments of save_pretrained, what training does not go on from
cases = {
    "plain": ("base", {}), "all-linear": ("base", dict(target_modules="all-linear")), "dropout-gaussian": ("base", dict(lora_dropout=.1, init_lora_weights="gaussian")),
    "bias-all": ("base", dict(bias="all")), "velora": ("base", dict(velora_config=peft.VeloraConfig(num_groups=4)), 0, {}, "velora_config"),
    # some modules
    "layers": ("base", dict(layers_to_transform=[1])), "a-layer": ("base", dict(layers_to_transform=0, layers_pattern="layers")),
    "excluded": ("base", dict(exclude_modules=["layers.0.self_attn.q_proj"])), "excluded-expression": ("base", dict(exclude_modules=r".*0.*q_proj")),
    "expression": ("base", dict(target_modules=r"model\.layers\.(?!0).*\.(q_proj|down_proj)")), "names": ("base", dict(target_modules=["model.layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"])),
    "empty-lists": ("base", dict(exclude_modules=[], modules_to_save=[], layers_to_transform=[], layers_pattern=[])),
    # ranks and scales
    "rslora": ("base", dict(use_rslora=True)), "ranks": ("base", dict(rank_pattern={"layers.1.self_attn.q_proj": 5, "v_proj": 1})),
    "alphas": ("base", dict(alpha_pattern={"q_proj": 3, "layers.1.self_attn.v_proj": .5, "^model.layers.0.self_attn.v_proj": 32})),
    "ranks-alphas-rslora": ("base", dict(use_rslora=True, target_modules="all-linear", rank_pattern={"mlp.*": 3, "o_proj": 1}, alpha_pattern={"down_proj": 1})),
    # saved whole
    "saved-norms": ("base", dict(modules_to_save=["norm"])), "saved-a-norm": ("base", dict(modules_to_save=["model.norm"])), "saved-ends": ("base", dict(modules_to_save=[E, H])),
    "saved-mlp": ("base", dict(target_modules=["q_proj", "down_proj"], modules_to_save=["layers.1.mlp"])), "saved-q": ("base", dict(target_modules=["q_proj", "down_proj"], modules_to_save=["q_proj"])),
    "biased-all": ("biased", dict(bias="all"), 0, {}, "bias"), "biased-lora": ("biased", dict(bias="lora_only"), 0, {}, "bias"), "biased-saved": ("biased", dict(target_modules=["v_proj"], modules_to_save=["q_proj"])),
    # a vocabulary that grew
    "grown": ("base", {}, 2), "grown-saved": ("base", dict(modules_to_save=[E, H]), 2), "grown-head": ("base", dict(target_modules=["q_proj", H]), 2, {}, "target_modules"),
    "grown-embedding": ("base", dict(target_modules=["q_proj", E]), 2, {}, "target_modules"), "grown-dora-ends": ("base", dict(target_modules=["q_proj", E, H], use_dora=True), 3, {}, "use_dora"),
    "grown-tied": ("tied", dict(modules_to_save=[E, H], ensure_weight_tying=True), 2), "grown-tied-embedding-saved": ("tied", dict(modules_to_save=[E]), 2, {}, "modules_to_save"),
    "grown-tied-head": ("tied", dict(target_modules=["q_proj", H]), 2, {}, "target_modules"),
    "grown-tied-head-dora-ensured": ("tied", dict(target_modules=["q_proj", H], use_dora=True, ensure_weight_tying=True), 2, {}, "use_dora"),
    "grown-tied-embedding-rank-ensured": ("tied", dict(target_modules=["q_proj", E], rank_pattern={E: 3}, ensure_weight_tying=True), 2, {}, "target_modules"),
    # factors of embedding and head
    "head": ("base", dict(target_modules=["q_proj", H]), 0, {}, "target_modules"), "head-alone": ("base", dict(target_modules=["q_proj", H]), 0, dict(save_embedding_layers=False), "target_modules"),
    "embedding": ("base", dict(target_modules=["q_proj", E], rank_pattern={E: 3}), 0, {}, "target_modules"), "both-rslora": ("base", dict(target_modules=[E, H], use_rslora=True), 0, {}, "target_modules"),
    # one tensor in the base
    "tied": ("tied", dict(modules_to_save=[E, H], ensure_weight_tying=True)), "tied-untouched": ("tied", {}), "tied-embedding-saved": ("tied", dict(modules_to_save=[E]), 0, {}, "modules_to_save"),
    "tied-head-saved": ("tied", dict(modules_to_save=[H]), 0, {}, "modules_to_save"), "tied-both-saved": ("tied", dict(modules_to_save=[E, H]), 0, {}, "modules_to_save"),
    "tied-saved-beside-base": ("tied", dict(modules_to_save=[H]), 0, dict(save_embedding_layers=True), "modules_to_save"), "tied-head": ("tied", dict(target_modules=["q_proj", H]), 0, {}, "target_modules"),
    "tied-embedding": ("tied", dict(target_modules=["q_proj", E]), 0, {}, "target_modules"), "tied-embedding-ensured": ("tied", dict(target_modules=["q_proj", E], ensure_weight_tying=True), 0, {}, "target_modules"),
    "tied-embedding-dora-ensured": ("tied", dict(target_modules=["q_proj", E], ensure_weight_tying=True, use_dora=True), 0, {}, "use_dora"),
    "tied-embedding-head-saved": ("tied", dict(target_modules=["q_proj", E], modules_to_save=[H]), 0, {}, "target_modules"), "two": ("two", dict(modules_to_save=[H])),
    # rows of embedding and head
    **{"tokens" + name: (model, dict(trainable_token_indices=rows, **more), grown, {}, "trainable_token_indices") for name, model, grown, rows, more in [
        ("", "base", 0, [5, 3], {}), ("-ends", "base", 0, {E: [3], H: [7, 5]}, {}), ("-head-saved", "base", 0, [3, 5], dict(modules_to_save=[H])), ("-grown", "base", 2, [41, 3], {}),
        ("-tied", "tied", 0, [3, 5], {}), ("-tied-same", "tied", 0, {E: [3, 5], H: [3, 5]}, {}), ("-tied-apart", "tied", 0, {E: [3], H: [5, 6]}, {}), ("-tied-head", "tied", 0, {H: [3, 5]}, {}),
        ("-tied-grown", "tied", 2, {"model.embed_tokens": [3, 40]}, {}), ("-two", "two", 0, {H: [9]}, {}), ("-tied-ensured", "tied", 0, {H: [3], E: [3]}, dict(ensure_weight_tying=True))]},
    # DoRA
    "dora": ("base", dict(use_dora=True), 0, {}, "use_dora"), "dora-all": ("base", dict(use_dora=True, use_rslora=True, target_modules="all-linear", rank_pattern={"q_proj": 5}), 0, {}, "use_dora"),
    "dora-ends": ("base", dict(use_dora=True, target_modules=[E, H], layers_to_transform=None), 0, {}, "use_dora"),
}
expected = {}
for name, case in cases.items():
    model, kw, grown, save, refused = (*case, *(0, {}, "")[len(case) - 2:])

    def fresh():
        m = load(model)
        if grown: torch.manual_seed(3); m.resize_token_embeddings(V + grown)
        return m
    torch.manual_seed(11)
    pm = get_peft_model(fresh(), LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": QV, **kw}))
    shake(pm); d = f"{out}/cases/{name}"; pm.save_pretrained(d, **save); os.remove(d + "/README.md")
    expected[name] = {"model": model, "loss": loss(PeftModel.from_pretrained(fresh(), d)), "resume": refused}
    if name in ("expression", "alphas", "ranks-alphas-rslora", "saved-mlp", "saved-a-norm", "biased-saved", "tied"): expected[name].update(onward(model, d))
    c = json.load(open(d + "/adapter_config.json")); c["base_model_name_or_path"] = model
    for k in ("target_modules", "exclude_modules"):
        if isinstance(c[k], list): c[k].sort()  # sets, in an order of the moment
    json.dump(c, open(d + "/adapter_config.json", "w"), indent=1, sort_keys=True)
d = out + "/cases/peft-0.3"; os.makedirs(d)  # as releases of 2023 wrote it
torch.save(load_file(out + "/cases/plain/adapter_model.safetensors"), d + "/adapter_model.bin", _use_new_zipfile_serialization=False)
json.dump({"base_model_name_or_path": "base", "bias": "none", "enable_lora": None, "fan_in_fan_out": False, "inference_mode": True, "lora_alpha": 4, "lora_dropout": .05, "merge_weights": False,
           "modules_to_save": None, "peft_type": "LORA", "r": 2, "target_modules": QV, "task_type": "CAUSAL_LM"}, open(d + "/adapter_config.json", "w"), indent=1)
expected["peft-0.3"] = dict(expected["plain"])
json.dump(expected, open(out + "/expected.json", "w"), indent=1)

shapes = LlamaConfig(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=12, num_attention_heads=2)
deep = lambda: LlamaForCausalLM(shapes)
some = [n for n, m in deep().named_modules() if hasattr(m, "weight") and (not n.startswith("model.layers.") or n.split(".")[2] in ("0", "1", "11"))]
names = []
for kw in [
    dict(target_modules=["q_proj"]), dict(target_modules=["_proj", "proj"]), dict(target_modules=["model.layers.1.self_attn.q_proj", "lm_head"]), dict(target_modules=[".q_proj", ""]),
    dict(target_modules=r".*\.1\.(mlp|self_attn)\..*_proj"), dict(target_modules=r"model\.layers\.(?!1\.).*q_proj"), dict(target_modules=r"model\.(?P<kind>layers)\.1\..*"), dict(target_modules=r"(?i).*Q_PROJ"),
    dict(target_modules="layers.1.self_attn.q_proj"), dict(target_modules=r".*\.q_proj$"), dict(target_modules="All-Linear"), dict(target_modules="all-linear", exclude_modules=["mlp.up_proj"]),
    dict(target_modules=["q_proj", "down_proj", "lm_head"], layers_to_transform=[1]), dict(target_modules=["q_proj"], layers_to_transform=11), dict(target_modules=["embed_tokens"], layers_to_transform=1),
    dict(target_modules=["q_proj"], layers_to_transform=[0, 11], layers_pattern="layers"), dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern=["h", "blocks"]),
    dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern=["h", r"(lay|x)ers"]), dict(target_modules=["q_proj"], exclude_modules=["layers.1.self_attn.q_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=r".*\.1+\..*"), dict(target_modules=["q_proj", "down_proj"], modules_to_save=["layers.1"]), dict(target_modules=["q_proj"], modules_to_save=["self_attn.q_proj"]),
    dict(target_modules=["q_proj"], modules_to_save=["norm", "lm_head"]), dict(target_modules=["q_proj"], modules_to_save=["1.input_layernorm"]), dict(target_modules=["q_proj"], modules_to_save=["head", "tokens"]),
    dict(target_modules="all-linear", rank_pattern={"q_proj": 4, "layers.1.self_attn.q_proj": 5, r"layers\.[01]\.mlp\..*": 6}, alpha_pattern={"layers.1.self_attn.q_proj": 7, "q_proj": 3, "^k_proj": 2, "o_proj|up_proj": 9}),
    dict(target_modules="all-linear", rank_pattern={"proj": 4, r"^model.layers.11.*": 3}, alpha_pattern={"model.layers.0.self_attn.v_proj": .5}, use_rslora=True),
]:
    m = deep(); c = _maybe_include_all_linear_layers(LoraConfig(r=2, lora_alpha=8, **kw), m)
    targets = [n for n in some if not n.endswith("norm") and check_target_module_exists(c, n)]
    rank = {n: c.rank_pattern.get(get_pattern_key(c.rank_pattern.keys(), n), c.r) for n in targets}
    scale = {n: c.alpha_pattern.get(get_pattern_key(c.alpha_pattern.keys(), n), c.lora_alpha) / (rank[n] ** .5 if c.use_rslora else rank[n]) for n in targets}
    _set_trainable(m, "default", c.modules_to_save, inference_mode=False)
    wrapped = [n for n, x in m.named_modules() if isinstance(x, ModulesToSaveWrapper)]
    names.append({"config": {**kw, "peft_type": "LORA", "r": 2}, "rank": rank, "scale": scale, "saved": [n for n in some if any(n == w or n.startswith(w + ".") for w in wrapped)]})
json.dump({"modules": some, "cases": names}, open(out + "/names.json", "w"), indent=1)
