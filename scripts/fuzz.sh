#!/usr/bin/env bash
# Runs every fuzz target of the module, as many at a time as there are cores, and fails on a finding, a hang, too much
# memory, or a target that makes too few executions to say anything.
#
# usage: scripts/fuzz.sh [SECONDS [TARGET...]]    seconds a target (10), and only the targets named
#
# FUZZ_LEAST: executions that a target must make in a second of processor time, 50 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
export seconds=${1:-10} out=$PWD/build/fuzz
shift || true
mkdir -p "$out"
ulimit -v $((12 << 20)) # KiB: an input that fills the memory ends its target, not the machine
export GOMEMLIMIT=2GiB

# binary is the test binary of a package's folder, which all of its targets share.
binary() {
	echo "$out/$(tr / - <<<"$1").test"
}

# build makes it.
build() {
	go test -c -fuzz=Fuzz -o "$(binary "$1")" "./$1"
}

# one runs one target of a folder, and says in a line how it went.
one() {
	local dir=$1 target=$2 log=$out/$2.log status=0 took least execs said=ok TIMEFORMAT='%U %S'
	{ time (cd "$dir" && timeout --kill-after=5 $((seconds + 60)) "$(binary "$dir")" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="${seconds}s" \
		-test.fuzzminimizetime=1x -test.parallel=1 -test.fuzzcachedir="$out/cache/$dir") >"$log" 2>&1; } 2>"$log.time" || status=$?
	# The tool at times takes the end of its own time for a fault (golang/go#75804, mended in Go 1.27). A finding leaves its input.
	if [ $status -eq 1 ] && grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log"; then
		status=0
	fi
	took=$(awk 'END { printf "%.0f", $1 + $2 }' "$log.time")
	least=$((${FUZZ_LEAST:-50} * took + 10)) # not none either, where the machine is too busy to tell
	execs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -1)
	if [ $status -ne 0 ]; then
		said="FAIL, exit $status: $log"
	elif [ "${execs:-0}" -lt "$least" ]; then
		said="FAIL, fewer than $least in $took s of processor time: make its seeds smaller or what it does faster"
	fi
	printf '%-32s %-24s %9s executions  %s\n' "$dir" "$target" "${execs:-0}" "$said"
	if [ $status -ne 0 ]; then
		tail -40 "$log" | sed 's/^/    /'
	fi
	[ "$said" = ok ]
}
export -f binary build one

list=$out/targets
for dir in $(grep -rl --include='*_test.go' '^func Fuzz' cmd internal | xargs -n1 dirname | sort -u); do
	targets=$(cat "$dir"/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' | sort)
	if [ $# -gt 0 ]; then
		targets=$(grep -Fx -f <(printf '%s\n' "$@") <<<"$targets" || true)
	fi
	for target in $targets; do
		echo "$dir $target"
	done
done >"$list"
[ -s "$list" ] || { echo 'no target has such a name'; exit 1; }
cut -d' ' -f1 "$list" | uniq | xargs -P "$(nproc)" -n1 bash -euc 'build "$1"' build
failed=0
xargs -P "$(nproc)" -n2 bash -euc 'one "$@"' one <"$list" || failed=1
echo "$(wc -l <"$list") targets, $([ $failed = 0 ] && echo none || echo some) failed"
exit $failed
