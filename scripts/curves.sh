#!/usr/bin/env bash
# Trains one run in float32 on the CPU and in bfloat16 on the GPU and says how far the two loss curves are apart:
#
#   scripts/curves.sh bin/longlora-cuda OUT --model DIR --data FILE --ctx 1024 --steps 50
#
# OUT gets cpu/ and cuda/. The limit by which this is judged stands in docs/numerics.md.
set -euo pipefail
bin=$1 out=$2
shift 2
for device in cpu cuda; do
    "$bin" train "$@" --device $device --out "$out/$device" >&2
done
losses() { sed 's/.*"loss":\([^,]*\),.*/\1/' "$out/$1/metrics.jsonl"; }
paste <(losses cpu) <(losses cuda) | awk '
    { d = $2 - $1; s += d * d; if (d < 0) d = -d; if (d > worst) { worst = d; at = NR } ; if (NR == 1) first = $1; last = $1 }
    END { printf "%d steps; float32 from %.4f to %.4f; root mean square apart %.2g, at most %.2g (step %d)\n", NR, first, last, sqrt(s / NR), worst, at }'
