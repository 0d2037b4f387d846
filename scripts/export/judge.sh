#!/usr/bin/env bash
# judge.sh [NAME…]: hold `longlora export` to llama.cpp. Builds llama-cpp-python from its package, about half an hour of one
# core, into build/export-judge; the second time that is there. NAME: one model or tokenizer of judge.py, or "tokenizers".
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=build/export-judge
if [ ! -e "$dir/done" ]; then
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet torch==2.15.0 transformers==5.17.0 tokenizers==0.23.3 gguf==0.19.0 numpy==2.4.6 \
    sentencepiece==0.2.3 cmake ninja
  CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_OPENMP=OFF -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \
    CMAKE_BUILD_PARALLEL_LEVEL="${JOBS:-2}" PATH="$PWD/$dir/bin:$PATH" \
    "$dir/bin/pip" install --no-binary llama-cpp-python llama-cpp-python==0.3.36
  touch "$dir/done"
fi
go build -o "$dir/longlora" ./cmd/longlora
exec "$dir/bin/python" scripts/export/judge.py "$dir/longlora" "$@"
