#!/usr/bin/env bash
# Makes testdata/demo again, from seeds alone: a small LLaMA trained from nothing on synthetic text, the text that
# `make demo` extends it with, and the recall task. Then, as a yardstick, a model of the same size is trained from
# nothing at four times the length, on as many tokens, and evaluated; docs/demo.md keeps its figures.
# About 25 minutes on 2 cores. Usage: scripts/make-demo-model.sh [WORK]   (the runs are kept in WORK, and go on from
# there when interrupted)
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-out/demo-model}")
mkdir -p "$work/init" bin
go build -o bin/longlora ./cmd/longlora
go build -o "$work/demotext" ./scripts/demotext
language=(-fact .15 -repeat .45 -near .9 -reach 64 -drone .3 -quiet .3)
recipe=(--device cpu --init random --tune full --attn full --accum 1 --steps 2048 --lr 3e-3 --schedule cosine --warmup-steps 100)

"$work/demotext" -model "$work/init"
"$work/demotext" "${language[@]}" -seed 1 -docs 65536 -len 128 -out "$work/base.bin"
"$work/demotext" "${language[@]}" -seed 2 -docs 16384 -len 512 -out "$work/long.bin"
"$work/demotext" "${language[@]}" -seed 3 -docs 2200 -len 512 -out "$work/text.jsonl"
bin/longlora train "${recipe[@]}" --model "$work/init" --data "$work/base.bin" --ctx 128 --batch 32 --out "$work/base"

rm -rf testdata/demo
mkdir -p testdata/demo/model
cp "$work"/init/{config.json,tokenizer.json,tokenizer_config.json} "$work/base/model.safetensors" testdata/demo/model/
cp "$work/init/passkey.yaml" testdata/demo/
gzip -9 -n -c "$work/text.jsonl" > testdata/demo/text.jsonl.gz

# the yardstick: the same recipe and number of tokens at 512, judged on what extend holds out, the last 5 %
bin/longlora train "${recipe[@]}" --model "$work/init" --data "$work/long.bin" --ctx 512 --batch 8 --out "$work/scratch"
tail -n 110 "$work/text.jsonl" > "$work/held.jsonl"
bin/longlora eval --device cpu --model "$work/scratch" --task ppl,passkey --data "$work/held.jsonl" --ctx 128,256,512 \
  --limit 32 --trials 3 --passkey-template testdata/demo/passkey.yaml
