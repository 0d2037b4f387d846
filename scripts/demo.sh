#!/usr/bin/env bash
# Extends a small reference model on the CPU: evaluate, train with S²-Attn + LoRA, merge, evaluate again.
# Usage: scripts/demo.sh BINARY
set -euo pipefail
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
model=testdata/golden/mha-linear/model
data=testdata/golden/mha-linear/tokens.bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
echo "== the base, at its own length and at twice that"
"$bin" eval --model "$model" --task ppl --data "$data" --ctx 128,256 --stride 64 --limit 8
echo "== train at 256 tokens (the data are random tokens: the loss shows that steps work, not that anything is learnt)"
"$bin" train --model "$model" --data "$data" --ctx 256 --base-ctx 32 --out "$out/run" --steps 20 --accum 2 --lr 1e-3 --warmup-steps 5
echo "== merge"
"$bin" merge --model "$model" --adapter "$out/run" --out "$out/merged"
echo "== the merged model"
"$bin" eval --model "$out/merged" --task ppl --data "$data" --ctx 128,256 --stride 64 --limit 8
