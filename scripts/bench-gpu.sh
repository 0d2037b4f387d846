#!/usr/bin/env bash
# Training steps of a named shape on one GPU, longlora and PyTorch (plain and tuned) one after the other in one run.
#
#   scripts/bench-gpu.sh bin/longlora-cuda [SHAPE] [CTX,CTX…] [DEVICE-MEM]
#
# python3 needs torch, transformers and peft. Prints one JSON document of ours, then one line a context of theirs.
set -euo pipefail
bin=$1 shape=${2:-llama2-7b} ctx=${3:-8192,32768} mem=${4:-72GiB}
here=$(cd "$(dirname "$0")" && pwd)
nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader
"$bin" bench --device cuda --shape "$shape" --ctx "$ctx" --device-mem "$mem" --steps 3 --warmup 2 --json
python3 "$here/peer_hf.py" --shape "$shape" --ctx "$ctx" --steps 3 --warmup 1
python3 "$here/peer_hf.py" --shape "$shape" --ctx "$ctx" --steps 3 --warmup 1 --tuned
