#!/usr/bin/env python3
"""Makes testdata/generate.json: what transformers generates greedily with the bundled demo model.

Float32, eager attention, on the CPU; ids are the tokenizers package's own reading of tokenizer.json. `gap` is the least
distance between the two highest scores of any step, so that a case that hangs on rounding is known as one. With a window the
model is the same as a Mistral whose layers have one.

  python3 scripts/gen-generate-cases.py testdata/demo testdata/generate.json
"""
import gzip, json, sys
import torch, transformers
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

demo, out = sys.argv[1:]
torch.use_deterministic_algorithms(True)
enc = Tokenizer.from_file(demo + "/model/tokenizer.json")
texts = [json.loads(line)["text"] for line in gzip.open(demo + "/text.jsonl.gz", "rt")][:3]
words = [t.split(" ")[1:] for t in texts]
part = lambda k, n: "".join(" " + w for w in words[k][:n])
NEW = 48
cases = [  # prompt, YaRN's factor, sliding window
    (" and", 1, None), (part(0, 12), 1, None), ("<s>" + part(1, 20), 1, None), ("<s>", 1, None), (part(2, 75), 1, None),
    ("Hello, wörld!\n", 1, None), (part(0, 300), 8, None), ("<s>" + part(1, 400), 8, None),
    (part(0, 12), 1, 20), ("<s>", 1, 9), (part(2, 75), 1, 33), (part(0, 300), 8, 60), ("<s>" + part(1, 400), 8, 250),
]
plain = json.load(open(demo + "/model/config.json"))


def load(factor, window):
    kind, config_kind, fields = LlamaForCausalLM, LlamaConfig, {}
    if window:
        kind, config_kind, fields = MistralForCausalLM, MistralConfig, {"sliding_window": window}
    if factor > 1:
        rope = {"rope_type": "yarn", "factor": float(factor), "rope_theta": float(plain["rope_theta"]),
                "original_max_position_embeddings": plain["max_position_embeddings"]}
        fields.update(rope_parameters=rope, rope_scaling=rope, max_position_embeddings=factor * plain["max_position_embeddings"])
    config = config_kind.from_pretrained(demo + "/model", **fields)
    return kind.from_pretrained(demo + "/model", config=config, dtype=torch.float32, attn_implementation="eager")


models = {c[1:]: load(*c[1:]).eval() for c in cases}
done = []
for prompt, factor, window in cases:
    ids = enc.encode(prompt, add_special_tokens=False).ids
    with torch.no_grad():
        r = models[factor, window].generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
            max_new_tokens=NEW, output_scores=True, return_dict_in_generate=True, pad_token_id=1)
    new = r.sequences[0, len(ids):].tolist()
    top = [torch.topk(s[0], 2).values for s in r.scores]
    done.append({"prompt": prompt, "factor": factor, **({"window": window} if window else {}), "prompt_ids": ids, "ids": new,
                 "gap": min(float(t[0] - t[1]) for t in top), "text": enc.decode(new, skip_special_tokens=True)})
    print(len(ids), len(new), done[-1]["gap"], repr(done[-1]["text"][:60]))
with open(out, "w") as f:
    f.write(json.dumps({"made_by": f"transformers {transformers.__version__}, torch {torch.__version__}", "max_tokens": NEW}, indent=1)[:-2])
    f.write(',\n "cases": [\n' + ",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in done) + "\n ]\n}\n")
