#!/usr/bin/env bash
# Finds the CUDA toolkit (12.0 or later) and writes where it is to the given makefile. Where there is none it is fetched
# as wheels from PyPI, without root, into build/cuda-toolchain.
#
#   CUDA_HOME      a toolkit's folder; else nvcc on PATH, else /usr/local/cuda*
set -euo pipefail
out=${1:?usage: scripts/cuda-toolchain.sh build/cuda/toolchain.mk}
top=$(cd "$(dirname "$0")/.." && pwd)
wheels=$top/build/cuda-toolchain

case $(uname -sm) in
"Linux x86_64") ;;
*) echo "cuda-toolchain: the CUDA build is for Linux on x86-64, this is $(uname -sm); build without it: make" >&2; exit 1 ;;
esac

fetch() {
    echo "cuda-toolchain: fetching $* into build/cuda-toolchain" >&2
    python3 -m pip install --quiet --no-deps --target "$wheels" --upgrade "$@" >&2 || {
        echo "cuda-toolchain: pip could not fetch the wheels. Install the CUDA toolkit and set CUDA_HOME, or make python3's pip work" >&2
        exit 1
    }
}

toolkit() {
    if [ -n "${CUDA_HOME:-}" ]; then
        [ -x "$CUDA_HOME/bin/nvcc" ] || { echo "cuda-toolchain: CUDA_HOME is $CUDA_HOME, which has no bin/nvcc" >&2; exit 1; }
        echo "$CUDA_HOME"; return
    fi
    local nvcc
    if nvcc=$(command -v nvcc); then dirname "$(dirname "$(readlink -f "$nvcc")")"; return; fi
    for nvcc in /usr/local/cuda/bin/nvcc $(ls -d /usr/local/cuda-*/bin/nvcc 2>/dev/null | sort -Vr); do
        if [ -x "$nvcc" ]; then dirname "$(dirname "$(readlink -f "$nvcc")")"; return; fi
    done
    [ -x "$wheels/nvidia/cu13/bin/nvcc" ] || fetch nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    echo "$wheels/nvidia/cu13"
}

root=$(toolkit)
lib=
for dir in "$root/lib64" "$root/lib" "$root/targets/x86_64-linux/lib"; do
    if [ -e "$dir/libcudart_static.a" ]; then lib=$dir; break; fi
done
[ -n "$lib" ] || { echo "cuda-toolchain: $root has no libcudart_static.a" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
printf 'CUDA_ROOT := %s\nCUDA_LIB := %s\n' "$root" "$lib" > "$out"
echo "cuda-toolchain: $root" >&2
