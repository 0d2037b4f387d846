#!/usr/bin/env bash
# extend.sh MODEL DATA CTX OUT: extend a model, look at what it brought, and write it for llama.cpp. Interrupted, the same
# command goes on.
set -euo pipefail
model=${1:?a folder, or a name in the Hugging Face cache} data=${2:?text, JSON or parquet, or a folder} ctx=${3:?such as 16k} out=${4:?}
longlora=${LONGLORA:-longlora}

# does it fit, and how long will it take? Exit code 3 says what would
"$longlora" plan --model "$model" --ctx "$ctx"

"$longlora" extend --model "$model" --data "$data" --ctx "$ctx" --out "$out" --steps "${STEPS:-200}" --accum "${ACCUM:-8}" ${EXTRA:-}

# the same figures again, for a table of one's own
"$longlora" report "$out"

"$longlora" export --model "$out/merged" --type q8_0 --out "$out/model.gguf"
echo "the report is $out/report.html, the model $out/merged, for llama.cpp $out/model.gguf"
