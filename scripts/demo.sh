#!/usr/bin/env bash
# Extends the bundled model from 128 to 512 tokens on the CPU and shows what it brought: docs/demo.md.
# Usage: scripts/demo.sh BINARY
set -euo pipefail
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
out=out/demo
if [ -e $out/extend.json ]; then rm -r $out; fi # of the demo before; anything else is left alone, and said
"$bin" extend --model testdata/demo/model --data testdata/demo/text.jsonl.gz --passkey-template testdata/demo/passkey.yaml \
  --device cpu --ctx 512 --rope yarn --rope-factor 8 --batch 8 --accum 1 --steps 320 --lr 5e-4 --out $out
