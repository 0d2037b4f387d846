"""Adds up what kernel-times.c wrote of two steps: milliseconds of one, calls, microseconds a call, by kernel and blocks.

A kernel under way while records are written out has no times: a sum is the mean of those that have, times all calls. How
many have stands beside it.
"""
import collections
import re
import subprocess
import sys

calls, times = collections.Counter(), collections.defaultdict(list)
for line in open(sys.argv[1]):
    x = line.rstrip("\n").split(",", 8)
    if len(x) < 9 or x[8].startswith("mem"):
        continue
    kernel = (x[8], "x".join(x[3:6]))
    calls[kernel] += 1
    if int(x[0]) > 0 and int(x[1]) > int(x[0]):
        times[kernel].append((int(x[1]) - int(x[0])) / 1e3)
names = sorted({name for name, _ in calls})
plain = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True).stdout.split("\n")
name = {a: re.sub(r"\(anonymous namespace\)::|^void |\(.*", "", b) for a, b in zip(names, plain)}
table = [(n / 2 * sum(t) / len(t) / 1e3, n / 2, sum(t) / len(t), len(t), name[k[0]], k[1])
         for k, n in calls.items() if (t := times[k])]
print("%d calls of kernels a step" % (sum(calls.values()) / 2))
for ms, n, us, timed, kernel, blocks in sorted(table, reverse=True)[:40]:
    print("%8.2f ms %6.1f x %8.1f us (%d timed)  %s  %s" % (ms, n, us, timed, kernel[:70], blocks))
for k in calls:
    if not times[k]:
        print("not timed: %.1f x %s  %s" % (calls[k] / 2, name[k[0]][:70], k[1]))
