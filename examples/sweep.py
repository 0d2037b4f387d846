"""sweep.py MODEL DATA CTX: trains at three rates and says which adapter has the least validation loss. Drives the program
by --json: one document on standard output, a note or a fault on standard error, and an exit code that says which kind."""

import json
import os
import subprocess
import sys

LONGLORA = os.environ.get("LONGLORA", "longlora")
STEPS = os.environ.get("STEPS", "100")


def longlora(*args):
    p = subprocess.run([LONGLORA, *args, "--json"], stdout=subprocess.PIPE, text=True)
    if p.returncode == 3:
        sys.exit("it does not fit here")
    if p.returncode:
        sys.exit(p.returncode)  # what was wrong stands on standard error
    return json.loads(p.stdout)


model, data, ctx = sys.argv[1:4]
losses = {}
for lr in "1e-3", "3e-3", "6e-3":
    out = f"sweep/lr-{lr}"
    run = longlora("train", "--model", model, "--data", data, "--ctx", ctx, "--out", out, "--steps", STEPS, "--accum", "1",
                   "--lr", lr, "--eval-fraction", "0.05", "--eval-every", STEPS, "--eval-attn", "full")
    losses[out] = run["eval_loss"]
    print(f"{out}: {run['eval_loss']:.4f}")
print("best:", min(losses, key=losses.get))
