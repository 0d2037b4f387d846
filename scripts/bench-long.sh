#!/usr/bin/env bash
# Long contexts on one GPU of 80 GiB or more, and PyTorch (tuned) where it can run: docs/performance.md's table.
#
#   scripts/bench-long.sh bin/longlora-cuda [PART…]       parts: tuned, paper, far, flat (default: all)
#
# DEVICE_MEM (80GiB) and HOST_MEM (110GiB) are the limits. python3 needs torch, transformers and peft for "tuned".
set -euo pipefail
bin=$1; shift
here=$(cd "$(dirname "$0")" && pwd)
bench() { # SHAPE CTX STEPS WARMUP [more]
    local shape=$1 ctx=$2 steps=$3 warmup=$4; shift 4
    "$bin" bench --device cuda --device-mem "${DEVICE_MEM:-80GiB}" --host-mem "${HOST_MEM:-110GiB}" --shape "$shape" --ctx "$ctx" --steps "$steps" --warmup "$warmup" "$@" --json 2>&1 |
        grep -v '^device  \|^mfu is'
}
tuned() {
    bench llama2-7b 65536 2 1
    bench llama2-7b 131072 2 1
    python3 "$here/peer_hf.py" --shape llama2-7b --ctx 65536 --steps 2 --warmup 1 --tuned
    python3 "$here/peer_hf.py" --shape llama2-7b --ctx 131072 --steps 1 --warmup 1 --tuned
}
paper() { # 100,000 tokens and 13B at 64k, as in the paper's Table 4
    bench llama2-7b 100000 1 1
    bench llama2-13b 65536 1 1
}
far() {
    bench llama2-7b 262144 1 0
    bench llama3-8b 262144 1 0
}
flat() { # a fixed group and tile: time a token does not depend on the length
    bench llama2-7b 131072 1 1 --group-size 8192 --tile 16384
    bench llama2-7b 1048576 1 0 --group-size 8192 --tile 16384
}
nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader
[ $# -gt 0 ] || set -- tuned paper far flat
for part in "$@"; do "$part"; done
