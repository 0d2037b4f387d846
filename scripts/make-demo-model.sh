#!/usr/bin/env bash
# Makes testdata/demo again, from seeds alone: a small LLaMA trained from nothing on synthetic text, the text that
# `make demo` extends it with, and the recall task. Then, as a yardstick, a model of the same size is trained from
# nothing at four times the length, on as many tokens, and evaluated; docs/demo.md keeps its figures.
# Usage: scripts/make-demo-model.sh [WORK]   (the runs are kept in WORK, and go on from there when interrupted)
# BIN and DEMOTEXT name the programs where they are built already; THREADS is how many threads a run takes.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-out/demo-model}")
mkdir -p "$work/init"
if [ -z "${BIN:-}" ]; then make -s bin/longlora; BIN=bin/longlora; fi
if [ -z "${DEMOTEXT:-}" ]; then go build -o "$work/demotext" ./scripts/demotext; DEMOTEXT=$work/demotext; fi
threads=${THREADS:-0}

"$DEMOTEXT" -model "$work/init"
"$DEMOTEXT" -seed 1 -docs 32768 -len 256 -out "$work/base.bin"
"$DEMOTEXT" -seed 2 -docs 8192 -len 1024 -out "$work/long.bin"
"$DEMOTEXT" -seed 3 -docs 1100 -len 1024 -out "$work/text.jsonl"

# 8.4 million tokens at 256: recall of facts appears on the way
"$BIN" train --init random --tune full --attn full --model "$work/init" --data "$work/base.bin" --ctx 256 \
  --batch 16 --accum 1 --epochs 1 --lr 3e-3 --schedule cosine --warmup-steps 100 --save-every 500 --threads "$threads" --out "$work/base"

rm -rf testdata/demo
mkdir -p testdata/demo/model
cp "$work"/base/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} testdata/demo/model/
cp "$work/init/passkey.yaml" testdata/demo/
gzip -9 -n -c "$work/text.jsonl" > testdata/demo/text.jsonl.gz

# the yardstick: the same recipe and number of tokens at 1024
"$BIN" train --init random --tune full --attn full --model "$work/init" --data "$work/long.bin" --ctx 1024 \
  --batch 4 --accum 1 --epochs 1 --lr 3e-3 --schedule cosine --warmup-steps 100 --save-every 500 --threads "$threads" --out "$work/scratch"
tail -n 55 "$work/text.jsonl" > "$work/held.jsonl" # the last 5 %, which extend holds out
"$BIN" eval --model "$work/scratch" --task ppl,passkey --data "$work/held.jsonl" --ctx 256,512,1024 --limit 32 --trials 3 \
  --passkey-template testdata/demo/passkey.yaml
