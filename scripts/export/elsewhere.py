"""Runs what docs/use-elsewhere.md says of transformers and PEFT: python elsewhere.py LONGLORA

Trains the bundled model for two steps, merges it, and loads the merged model with transformers and the adapter with PEFT:
both must give the same logits."""

import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "testdata/demo"


def main():
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        (work / "base").symlink_to(DEMO / "model")
        longlora = pathlib.Path(sys.argv[1]).resolve()
        subprocess.run([longlora, "extend", "--device", "cpu", "--model", "base", "--data", DEMO / "text.jsonl.gz", "--ctx", "128",
                        "--steps", "2", "--accum", "1", "--eval-limit", "1", "--trials", "1", "--depths", "1", "--out", "extended"],
                       cwd=work, check=True, capture_output=True)
        ids = torch.arange(3, 60)[None]
        merged = AutoModelForCausalLM.from_pretrained(work / "extended/merged", dtype="auto")
        base = AutoModelForCausalLM.from_pretrained(work / "base", dtype="auto")
        adapted = PeftModel.from_pretrained(base, work / "extended/adapter")
        with torch.no_grad():
            a, b = merged(ids).logits.float(), adapted(ids).logits.float()
        apart = float((a - b).norm() / b.norm())
        print(f"merged and adapter are {apart:.1e} apart, the card has {(work / 'extended/README.md').stat().st_size} bytes")
        assert apart < 0.02, "one of them is not what was trained"


main()
