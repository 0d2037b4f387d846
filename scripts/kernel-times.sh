#!/usr/bin/env bash
# Which kernels a step consists of, and how long each takes: docs/performance.md's table of a step.
#
#   scripts/kernel-times.sh bin/longlora-cuda bench --shape llama2-7b --ctx 32768 --device-mem 72GiB --steps 1 --warmup 1
#
# The program must do two steps. gcc wants CUPTI's headers, which lie in the CUDA toolkit's extras/CUPTI or in PyTorch's
# nvidia folder: CUPTI names the folder that has include and lib or lib64 (default: the first that is found).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ -z "${CUPTI:-}" ]; then
    for d in "${CUDA_HOME:-/usr/local/cuda}/extras/CUPTI" $(python3 -c 'import nvidia; print(*[p + "/cu13" for p in nvidia.__path__])' 2>/dev/null); do
        if [ -e "$d/include/cupti.h" ]; then CUPTI=$d; break; fi
    done
fi
[ -n "${CUPTI:-}" ] || { echo "no cupti.h found: name its folder by CUPTI" >&2; exit 2; }
lib=$(ls "$CUPTI"/lib*/libcupti.so* | head -1)
gcc -O2 -Wall -shared -fPIC -I"$CUPTI/include" -I"${CUDA_HOME:-/usr/local/cuda}/include" "$here/kernel-times.c" -o "$dir/times.so" -ldl -lpthread
CUDA_INJECTION64_PATH=$dir/times.so KERNEL_TIMES_CUPTI=$lib KERNEL_TIMES=$dir/times.csv "$@" >&2
python3 "$here/kernel-times.py" "$dir/times.csv"
