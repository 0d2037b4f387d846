#!/usr/bin/env bash
# What happens to a group of ranks when something happens to one: on the bundled model, with two processes. Prints a line
# for each trial and ends with 1 where one went wrong.
#
#     scripts/try-ranks.sh [PROGRAM] [train's options…]    by default bin/longlora --device cpu
#     scripts/try-ranks.sh bin/longlora-cuda --device cuda --shard-weights on
set -uo pipefail
cd "$(dirname "$0")/.."
program=${1:-bin/longlora}
shift
[ $# -gt 0 ] || set -- --device cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
steps=${STEPS:-60}
before= # exec, where the process that is begun is to be the program itself

run() { # run RANKS OUT OPTIONS…: a training run
    local ranks=$1 out=$2
    shift 2
    $before "$program" train --recipe paper --model testdata/demo/model --data testdata/demo/text.jsonl.gz --ctx 256 --rope yarn \
        --rope-factor 4 --accum 4 --lr 1e-3 --steps "$steps" --save-every 5 --gpus "$ranks" --out "$work/$out" "$@"
}
say() { # say WHAT OK
    [ "$2" = 0 ] && echo "right: $1" || { echo "WRONG: $1"; bad=1; }
}
saved() { # waits until step $2 of run $1 is saved
    for _ in $(seq 1200); do
        [ -e "$work/$1/checkpoints/step-$(printf %06d "$2")" ] && return
        sleep 0.05
    done
}
rank() { # the process of a rank of the run whose launcher is $1
    local p
    for p in $(cat /proc/"$1"/task/*/children); do
        tr '\0' '\n' < /proc/"$p"/environ | grep -qx "RANK=$2" && echo "$p"
    done
}
same() { cmp -s "$work/$1/adapter_model.safetensors" "$work/$2/adapter_model.safetensors"; }
trial() { # trial NAME STEP: begins a run of two ranks and sets pid and one, rank 1's process
    "$program" version > /dev/null || exit 1
    before=exec
    run 2 "$1" "${options[@]}" > "$work/$1.log" 2>&1 &
    pid=$! before=
    saved "$1" "$2"
    one=$(rank "$pid" 1)
}
options=("$@")

run 2 whole "$@" > "$work/whole.log" 2>&1
say "two ranks train $steps steps" $?
case " $* " in *" --shard-weights on "*)
    run 2 apart "${@/#on/off}" > "$work/apart.log" 2>&1 && same whole apart
    say "with the bits of ranks that have all weights" $? ;;
esac

trial killed 10
begun=$(date +%s%N)
kill -9 "$one"
wait "$pid"
code=$?
took=$((($(date +%s%N) - begun) / 1000000))
[ $code = 1 ] && [ $took -lt 15000 ] && grep -q "rank 1 .*was killed" "$work/killed.log"
say "rank 1 is killed: all end with 1 after $took ms, and it is named" $?
run 2 killed "$@" > "$work/killed.log" 2>&1 && grep -q "resuming" "$work/killed.log" && same whole killed
say "the same command goes on, to the same bits" $?

trial stopped 10
kill -STOP "$one"
sleep 3
kill -CONT "$one"
wait "$pid" && same whole stopped
say "rank 1 is stopped for 3 s and goes on: the same bits" $?

trial hung 10
begun=$(date +%s%N)
kill -STOP "$one"
wait "$pid"
code=$?
took=$((($(date +%s%N) - begun) / 1000000))
kill -9 "$one" 2> /dev/null
[ $code != 0 ] && [ $took -lt 15000 ] && grep -q "rank 1" "$work/hung.log"
say "rank 1 hangs: all end with $code after $took ms, and it is named" $?
run 2 hung "$@" > "$work/hung.log" 2>&1 && same whole hung
say "the same command goes on, to the same bits" $?

trial asked 10
kill -TERM "$one"
wait "$pid"
code=$?
[ $code = 130 ]
say "rank 1 gets SIGTERM: all end with $code" $?
run 2 asked "$@" > "$work/asked.log" 2>&1 && same whole asked
say "the same command goes on, to the same bits" $?

trial fewer 10
kill -TERM "$pid"
wait "$pid"
lone=() # one process has nobody to share with
while [ $# -gt 0 ]; do
    case $1 in --shard-weights | --sequence-ranks) lone+=(--replan); shift 2 ;; *) lone+=("$1"); shift ;; esac
done
run 1 fewer "${lone[@]}" > "$work/fewer.log" 2>&1 && grep -q "done by .*2 processes, the next ones will be by one" "$work/fewer.log"
say "one process goes on from two, and says so" $?
loss() { sed -n 's/.*"loss":\([0-9.e-]*\).*/\1/p' "$work/$1/metrics.jsonl" | awk '{s += $1} END {print s / NR}'; }
a=$(loss whole) b=$(loss fewer)
awk -v a="$a" -v b="$b" 'BEGIN {d = a / b - 1; exit !(d < 1e-3 && d > -1e-3)}'
say "to the same losses, on average: $a and $b" $?
exit $bad
