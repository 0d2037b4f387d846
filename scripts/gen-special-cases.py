#!/usr/bin/env python3
"""Writes internal/tokenizer/testdata/special.json: what transformers makes of tokens that only the files beside a tokenizer add.

usage: python3 scripts/gen-special-cases.py

Needs `pip install transformers==5.17.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2`. Run it in the repository's root,
after scripts/gen-tokenizer-cases.py. Each case is a folder of testdata/cases with files beside the tokenizer; where
transformers refuses it, "error" stands for the ids.
"""
import json
import os
import shutil
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from transformers import AutoTokenizer  # noqa: E402

CASES = "internal/tokenizer/testdata/cases"
OUT = "internal/tokenizer/testdata/special.json"
TEXT = "<|a|>Anna  <|b|> the [PAD]<x> hello<|end|>world  </s> ."
N = {"gpt2": 520, "model": 700, "changes": 520}  # entries of each tokenizer


def tok(content, **flags):
    return {**dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True), **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **tok(content, **flags)}


def decoder(base, *tokens, step=1, start=0):
    return {"added_tokens_decoder": {str(N[base] + start + i * step): t for i, t in enumerate(tokens)}}


def cases():
    a, b = "<|a|>", "<|b|>"
    for base in ("gpt2", "model", "changes"):
        yield base, "nothing", {}
        yield base, "decoder", {"config": decoder(base, tok(a), tok(b))}
        yield base, "decoder, ids turned round", {"config": {"added_tokens_decoder": {str(N[base] + 1): tok(a), str(N[base]): tok(b)}}}
        yield base, "decoder with holes", {"config": decoder(base, tok(a), tok(b), step=3, start=2)}
        yield base, "decoder with the id of a piece", {"config": {"added_tokens_decoder": {"300": tok(a)}}}
        yield base, "decoder with flags", {"config": decoder(base, tok(a, rstrip=True), tok(b, lstrip=True, normalized=True), {"content": "<x>"}, {"content": "[PAD]", "special": True})}
        yield base, "decoder of a word", {"config": decoder(base, tok("hello", special=False, single_word=True))}
        yield base, "decoder of texts", {"config": {"added_tokens_decoder": {str(N[base]): a}}}
        yield base, "additional", {"config": {"additional_special_tokens": [a, b]}}
        yield base, "additional with flags", {"config": {"additional_special_tokens": [typed(b, lstrip=True), a]}}
        yield base, "extra, a list", {"config": {"extra_special_tokens": [b, a]}}
        yield base, "extra, a table", {"config": {"extra_special_tokens": {"boi_token": b, "eoi_token": a}}}
        yield base, "extra and additional", {"config": {"extra_special_tokens": [a], "additional_special_tokens": [b]}}
        yield base, "of this model", {"config": {"video_token": "<x>", "image_token": b, "pad_token": "[PAD]", "additional_special_tokens": [a]}}
        yield base, "of this model, two ways", {"config": {"image_token": b, "extra_special_tokens": {"eoi_token": a, "image_token": "<x>"}}}
        yield base, "specific", {"config": {"model_specific_special_tokens": {"image_token": b}, "unk_token": "<x>"}}
        yield base, "named", {"config": {"additional_special_tokens": [a], "pad_token": "[PAD]", "unk_token": "<x>", "mask_token": b}}
        yield base, "named with flags", {"config": {"pad_token": typed("[PAD]", normalized=True), "mask_token": typed(b, lstrip=True)}}
        yield base, "named, the decoder has flags", {"config": {**decoder(base, tok(b, lstrip=True)), "mask_token": b, "pad_token": "[PAD]", "additional_special_tokens": [b, a]}}
        yield base, "nulls", {"config": {"pad_token": None, "additional_special_tokens": None, "extra_special_tokens": None}}
        yield base, "an end that no file has", {"config": {"eos_token": a}}
        yield base, "an end among the pieces", {"config": {"eos_token": "."}}
        yield base, "map", {"map": {"pad_token": "[PAD]", "mask_token": tok("<x>", normalized=True)}}
        yield base, "map beside a decoder", {"config": decoder(base, tok(a)), "map": {"pad_token": "[PAD]"}}
        yield base, "map over a field", {"config": {"pad_token": "<x>", "additional_special_tokens": [a]}, "map": {"pad_token": "[PAD]", "additional_special_tokens": [b]}}
        yield base, "map, extra", {"config": {"extra_special_tokens": [a]}, "map": {"extra_special_tokens": [b, a], "pad_token": "[PAD]"}}
        yield base, "map, a table", {"map": {"extra_special_tokens": {"image_token": b}, "video_token": "<x>"}}
        yield base, "added", {"added": {a: N[base], b: N[base] + 1}}
        yield base, "added, ids turned round", {"added": {a: N[base] + 1, b: N[base]}}
        yield base, "added with holes", {"added": {a: N[base] + 7, b: N[base] + 3}}
        yield base, "added beside a decoder", {"config": decoder(base, tok("<x>")), "added": {a: N[base], b: N[base] + 1}}
        yield base, "added and map", {"added": {a: N[base], "[PAD]": N[base] + 1}, "map": {"pad_token": "[PAD]"}}
        yield base, "special tokens split", {"config": {"split_special_tokens": True, **decoder(base, tok(a), tok("hello", special=False))}}
        if base == "model":
            continue  # transformers 5 passes over a map's additional_special_tokens there; 4.46 does not, and neither do we
        yield base, "map, additional", {"map": {"additional_special_tokens": [a, b], "pad_token": "[PAD]"}}
        yield base, "added, map, additional", {"added": {a: N[base], "[PAD]": N[base] + 1}, "map": {"pad_token": "[PAD]", "additional_special_tokens": [b]}}
        yield base, "listed, turned round", {"json": [tok(a, id=N[base] + 1), tok(b, id=N[base])]}
        yield base, "listed with a hole", {"json": [tok(a, id=N[base] + 5)], "config": {"pad_token": "[PAD]"}}
        yield base, "listed with the id of a piece", {"json": [tok(a, id=5), tok(b, id=6)]}
        yield base, "listed, flags by the decoder", {"json": [tok(a, id=N[base])], "config": decoder(base, tok(a, rstrip=True), tok(b))}
        yield base, "listed and added", {"json": [tok(a, id=N[base])], "added": {a: N[base], b: N[base] + 1}}


def main():
    out = []
    for base, name, more in cases():
        with tempfile.TemporaryDirectory() as d:
            shutil.copytree(f"{CASES}/{base}", d, dirs_exist_ok=True)
            config = {"tokenizer_class": "LlamaTokenizer" if base == "model" else "PreTrainedTokenizerFast", **more.get("config", {})}
            files = {"tokenizer_config.json": config, "special_tokens_map.json": more.get("map"), "added_tokens.json": more.get("added")}
            files = {k: v for k, v in files.items() if v is not None}
            for k, v in {"config.json": {"model_type": "llama"}, **files}.items():
                with open(f"{d}/{k}", "w") as f:
                    json.dump(v, f)
            if "json" in more:
                with open(f"{d}/tokenizer.json") as f:
                    t = json.load(f)
                t["added_tokens"] += more["json"]
                with open(f"{d}/tokenizer.json", "w") as f:
                    json.dump(t, f)
            case = {"base": base, "name": name, "files": files, "listed": more.get("json", [])}
            try:
                t = AutoTokenizer.from_pretrained(d)
                if base != "model":  # spaces round added tokens are another matter there
                    case["ids"] = t(TEXT, add_special_tokens=False)["input_ids"]
                case["tokens"] = {v.content: k for k, v in t.added_tokens_decoder.items()}
            except Exception as e:
                case["error"] = str(e).split("\n")[0]
            out.append(case)
    with open(OUT, "w") as f:
        f.write('{"text":%s,"cases":[\n%s\n]}\n' % (json.dumps(TEXT), ",\n".join(json.dumps(c, separators=(",", ":")) for c in out)))


if __name__ == "__main__":
    main()
