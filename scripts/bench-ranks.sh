#!/usr/bin/env bash
# Steps of one GPU, and of two or more of one host: docs/performance.md's "Several GPUs".
#
#   scripts/bench-ranks.sh PROGRAM one|rows|divided [PART…]     parts: 32k 128k full 70b 1m (default: all)
#
# one: a process alone; rows: a row for each GPU; divided: one row, divided among them. GPUS (2) is how many, HOST_MEM (160GiB)
# the host memory of all. A part is a shape, a length, a way to attend and how many steps; of 70b's weights each GPU
# has its share.
set -euo pipefail
program=${1:?the program to measure} way=${2:?one, rows or divided}
shift 2
[ $# -gt 0 ] || set -- 32k 128k full 70b 1m
gpus=${GPUS:-2}
case $way in
one) among=() ;;
rows) among=(--gpus "$gpus") ;;
divided) among=(--gpus "$gpus" --sequence-ranks "$gpus") ;;
*) echo "one, rows or divided, not $way" >&2; exit 2 ;;
esac
for part in "$@"; do
    case $part in
    32k) what=(--shape llama2-7b --ctx 32768 --warmup 1 --steps 3) ;;
    128k) what=(--shape llama2-7b --ctx 131072 --warmup 1 --steps 1) ;;
    full) what=(--shape llama2-7b --ctx 131072 --attn full --warmup 0 --steps 1) ;;
    70b) what=(--shape llama2-70b --ctx 32768 --warmup 0 --steps 1) ;;
    1m) what=(--shape llama2-7b --ctx 1048576 --group-size 8192 --warmup 0 --steps 1) ;;
    *) echo "no part is called $part" >&2; exit 2 ;;
    esac
    if [ "$part" = 70b ] && [ "$way" != one ]; then what+=(--shard-weights on); fi
    echo "$way $part" >&2
    "$program" bench --device cuda --host-mem "${HOST_MEM:-160GiB}" "${what[@]}" "${among[@]}" --json
done
