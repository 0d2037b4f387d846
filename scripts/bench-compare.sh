#!/usr/bin/env bash
# Whether a change made anything slower or faster: the benchmarks of two commits, run in turns on this machine.
#
#   scripts/bench-compare.sh OLD NEW [BENCHMARKS]
#
# OLD and NEW are commits: each is built in a worktree of its own, and its CPU step and CPU operations run. Or they are
# folders of test binaries, which run as they are: on a machine with a GPU, build/cuda/test of each commit after
# `make cuda-check` there, for GPU operations and attention. BENCHMARKS is a pattern as go test -bench takes it; all is the default.
# ROUNDS (5) says how often each side runs, TIME (0.2s) how long a benchmark at least.
#
# A row has the median of each side's time, how far its runs lie apart as a share of it, and what the new one takes of the
# old one's time. From four rounds on a row is marked where every run of one side is faster than every run of the other; of
# rows without a difference one in 126 is so by chance in five rounds. Benchmarks that only one commit has are listed below.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
pattern=${3:-.} rounds=${ROUNDS:-5} time=${TIME:-0.2s}
tmp=$(mktemp -d)
root=$(git rev-parse --show-toplevel 2>/dev/null || true)
clean() {
    for side in old new; do
        [ ! -e "$tmp/$side.tree" ] || git -C "$root" worktree remove --force "$tmp/$side.tree"
    done
    rm -rf "$tmp"
}
trap clean EXIT

prepare() { # prepare SIDE COMMIT-OR-FOLDER
    mkdir "$tmp/$1"
    if [ -d "$2" ]; then
        cp "$2"/*.test "$tmp/$1/"
        return
    fi
    git -C "$root" worktree add --quiet --detach "$tmp/$1.tree" "$2"
    for p in internal/model internal/ops/cpu; do
        (cd "$tmp/$1.tree" && go test -c -o "$tmp/$1/$(basename $p).test" "./$p")
    done
}
prepare old "$1"
prepare new "$2"

for round in $(seq "$rounds"); do
    sides="old new"
    [ $((round % 2)) = 1 ] || sides="new old" # neither is always first
    for bin in $(cd "$tmp/new" && ls); do
        for side in $sides; do
            [ -e "$tmp/$side/$bin" ] || continue
            echo "round $round of $rounds: $side $bin" >&2
            # in a folder of its own: benchmarks read no files
            (cd "$tmp/$side" && "./$bin" -test.run '^$' -test.bench "$pattern" -test.benchtime "$time") >"$tmp/out" || { cat "$tmp/out" >&2; exit 1; }
            sed -n "s|^Benchmark|${bin%.test} |p" "$tmp/out" >>"$tmp/$side.txt"
        done
    done
done

touch "$tmp/old.txt" "$tmp/new.txt"
python3 - "$tmp/old.txt" "$tmp/new.txt" <<'PY'
import collections, re, statistics, sys

def read(path):
    runs = collections.defaultdict(list)
    for line in open(path):
        f = line.split()
        if "ns/op" in f:
            runs[f[0] + " " + re.sub(r"-\d+$", "", f[1])].append(float(f[f.index("ns/op") - 1]))
    return runs

old, new = (read(p) for p in sys.argv[1:])
both = [n for n in new if n in old]
if not both:
    sys.exit("no benchmark that both have")
spread = lambda v: 100 * (max(v) - min(v)) / statistics.median(v)
print(f"{'benchmark':44} {'old ms':>10} {'±':>6} {'new ms':>10} {'±':>6} {'new/old':>8}")
for n in both:
    a, b = old[n], new[n]
    ma, mb = statistics.median(a), statistics.median(b)
    mark = "" if min(len(a), len(b)) < 4 else "  slower" if min(b) > max(a) else "  faster" if max(b) < min(a) else ""
    print(f"{n:44} {ma/1e6:10.3f} {spread(a):5.0f}% {mb/1e6:10.3f} {spread(b):5.0f}% {mb/ma:8.3f}{mark}")
for side, one, other in (("old", old, new), ("new", new, old)):
    for n in one:
        if n not in other:
            print(f"only the {side} one has {n}")
PY
