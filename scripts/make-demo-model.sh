#!/usr/bin/env bash
# Makes testdata/demo again, from seeds alone: a small LLaMA trained from nothing on synthetic text, the text that
# `make demo` extends it with, and the recall task. Then, as a yardstick, a model of the same size is trained from
# nothing at four times the length, on as many tokens as base and extension see together, and evaluated; docs/demo.md
# keeps its figures.
# About 25 minutes on 2 cores. Usage: scripts/make-demo-model.sh [WORK [YARDSTICK]]   (the runs are kept in WORK, and go on
# from there when interrupted; YARDSTICK is the program that trains the yardstick, bin/longlora-cuda where there is a GPU)
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-out/demo-model}")
yardstick=${2:-bin/longlora}
mkdir -p "$work/init" bin
go build -o bin/longlora ./cmd/longlora
go build -o "$work/demotext" ./scripts/demotext
language=(-fact .15 -repeat .45 -near .9 -reach 64 -drone .3 -quiet .3)
recipe=(--recipe paper --init random --tune full --attn full --accum 1 --lr 3e-3 --schedule cosine --warmup-steps 100)

"$work/demotext" -model "$work/init"
"$work/demotext" "${language[@]}" -seed 1 -docs 65536 -len 128 -out "$work/base.bin"
"$work/demotext" "${language[@]}" -seed 2 -docs 18944 -len 512 -out "$work/long.bin"
"$work/demotext" "${language[@]}" -seed 3 -docs 2200 -len 512 -out "$work/text.jsonl"
bin/longlora train "${recipe[@]}" --device cpu --model "$work/init" --data "$work/base.bin" --ctx 128 --batch 32 --steps 2048 --out "$work/base"

rm -rf testdata/demo
mkdir -p testdata/demo/model
cp "$work"/init/{config.json,tokenizer.json,tokenizer_config.json} "$work/base/model.safetensors" testdata/demo/model/
cp "$work/init/passkey.yaml" testdata/demo/
gzip -9 -n -c "$work/text.jsonl" > testdata/demo/text.jsonl.gz

# the yardstick: the same recipe at 512, 2048·4096 + 320·4096 tokens, judged on what extend holds out, the last 5 %
"$yardstick" train "${recipe[@]}" --model "$work/init" --data "$work/long.bin" --ctx 512 --batch 8 --steps 2368 --out "$work/scratch"
tail -n 110 "$work/text.jsonl" > "$work/held.jsonl"
"$yardstick" eval --model "$work/scratch" --task ppl,passkey --data "$work/held.jsonl" --ctx 128,256,512 \
  --limit 32 --trials 3 --passkey-template testdata/demo/passkey.yaml
