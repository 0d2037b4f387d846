#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another, and fails on a finding, a hang, too much memory, or a target
# that makes too few executions to say anything.
#
# usage: scripts/fuzz.sh [SECONDS [TARGET...]]    seconds a target (10), and only the targets named
#
# FUZZ_LEAST: executions that a target must make in a second of processor time, 50 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
shift || true
TIMEFORMAT='%U %S'
out=$PWD/build/fuzz
mkdir -p "$out"
ulimit -v $((12 << 20)) # KiB: an input that fills the memory ends its target, not the machine
export GOMEMLIMIT=2GiB

ran=0 failed=0
for dir in $(grep -rl --include='*_test.go' '^func Fuzz' cmd internal | xargs -n1 dirname | sort -u); do
	targets=$(cat "$dir"/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' | sort)
	if [ $# -gt 0 ]; then
		targets=$(grep -Fx -f <(printf '%s\n' "$@") <<<"$targets" || true)
	fi
	[ -n "$targets" ] || continue
	test=$out/$(tr / - <<<"$dir").test
	go test -c -fuzz=Fuzz -o "$test" "./$dir"
	for target in $targets; do
		log=$out/$target.log
		status=0
		{ time (cd "$dir" && timeout --kill-after=5 $((seconds + 60)) "$test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="${seconds}s" \
			-test.fuzzminimizetime=1x -test.parallel=2 -test.fuzzcachedir="$out/cache/$dir") >"$log" 2>&1; } 2>"$log.time" || status=$?
		# The tool at times takes the end of its own time for a fault (golang/go#75804, mended in Go 1.27). A finding leaves its input.
		if [ $status -eq 1 ] && grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log"; then
			status=0
		fi
		took=$(awk 'END { printf "%.0f", $1 + $2 }' "$log.time")
		least=$((${FUZZ_LEAST:-50} * took + 10)) # not none either, where the machine is too busy to tell
		execs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -1)
		said=ok
		if [ $status -ne 0 ]; then
			said="FAIL, exit $status: $log"
		elif [ "${execs:-0}" -lt "$least" ]; then
			said="FAIL, fewer than $least in $took s of processor time: make its seeds smaller or what it does faster"
		fi
		printf '%-32s %-24s %9s executions  %s\n' "$dir" "$target" "${execs:-0}" "$said"
		ran=$((ran + 1))
		if [ "$said" != ok ]; then
			failed=$((failed + 1))
			[ $status -eq 0 ] || tail -40 "$log"
		fi
	done
done
echo "$ran targets, $failed failed"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
