#!/usr/bin/env python3
"""Runs a table of training recipes on a real model and writes what each brings.

  run.py run GRID --longlora BIN --model DIR --train F.bin --eval F.bin --results results.jsonl [--work DIR] [--until S] [--only NAME…]
  run.py table results.jsonl

GRID has a recipe a line: `NAME | SEEDS | train's flags [| train's flags of a second run that goes on from the first]`.
A recipe is trained with each seed, judged by perplexity and passkey at several lengths, always under full attention, and
appended to the results as one JSON line; what stands there already is not run again, so an interrupted grid goes on where it
stopped. --until ends it before a recipe that would likely pass so many seconds. Every figure of docs/quality.md comes from here."""
import argparse, json, os, shlex, shutil, statistics, subprocess, sys, time

LENGTHS = [2048, 8192, 16384, 32768]
COMMON = ["--ctx", "32768", "--accum", "4", "--batch", "1", "--save-every", "100000", "--eval-every", "0"]
WINDOWS, DEPTHS, TRIALS = 48, 10, 4


def read_grid(path):
    for n, line in enumerate(open(path), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        parts = [p.strip() for p in line.split("|")]
        if len(parts) not in (3, 4):
            sys.exit(f"{path}:{n}: want NAME | SEEDS | flags [| flags], got {line!r}")
        yield parts[0], [int(s) for s in parts[1].split(",")], [shlex.split(p) for p in parts[2:]]


def call(*cmd):
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        raise RuntimeError(f"{shlex.join(cmd)}: exit {p.returncode}: {p.stderr.strip()[-600:]}")
    return json.loads(p.stdout)


def train(a, phases, seed, work):
    """One run a phase, each going on from the one before; the last one's folder, seconds and mean loss."""
    seconds, out = 0, None
    for i, flags in enumerate(phases):
        more = ["--adapter", out] if out else []
        out = os.path.join(work, f"run{i}")
        r = call(a.longlora, "train", "--model", a.model, "--data", a.train, "--out", out, "--seed", str(seed), "--json", *COMMON, *more, *flags)
        seconds += r["seconds"]
    with open(os.path.join(out, "metrics.jsonl")) as f:
        losses = [json.loads(line)["loss"] for line in f]
    return out, seconds, statistics.fmean(losses[-max(1, len(losses) // 10):])


def judge(a, adapter):
    """Perplexity and passkey accuracy at every length, of the base where there is no adapter."""
    common = ["--model", a.model, *(["--adapter", adapter] if adapter else []), "--ctx", ",".join(map(str, LENGTHS)), "--json"]
    ppl = call(a.longlora, "eval", "--task", "ppl", "--data", a.eval, "--limit", str(WINDOWS), *common)["results"]
    keys = call(a.longlora, "eval", "--task", "passkey", "--depths", str(DEPTHS), "--trials", str(TRIALS), *common)["results"]
    return {str(r["ctx"]): r["ppl"] for r in ppl}, {str(r["ctx"]): r["accuracy"] for r in keys}


def run(a):
    done = set()
    if os.path.exists(a.results):
        done = {(r["name"], r["seed"], json.dumps(r["flags"])) for r in map(json.loads, open(a.results))}
    chip = "cpu"
    if shutil.which("nvidia-smi"):
        chip = subprocess.check_output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], text=True).strip()
    begin, longest = time.time(), 0
    for name, seeds, phases in read_grid(a.grid):
        for seed in seeds:
            if (name, seed, json.dumps(phases)) in done or a.only and name not in a.only:
                continue
            start = time.time()
            if a.until and start - begin + longest > a.until:
                print(f"stopping before {name}: {start - begin:.0f} s have gone", flush=True)
                return
            work = os.path.join(a.work, f"{name}-{seed}")
            shutil.rmtree(work, ignore_errors=True)
            os.makedirs(work)
            try:
                adapter, seconds, loss = train(a, phases, seed, work) if phases != [["base"]] else (None, 0, None)
                trained = time.time() - start
                ppl, keys = judge(a, adapter)
            except RuntimeError as e:
                print(f"{name} seed {seed}: {e}", flush=True)
                continue
            with open(a.results, "a") as f:
                print(json.dumps(dict(name=name, seed=seed, flags=phases, chip=chip, train_s=round(seconds, 1), loss=loss, ppl=ppl, passkey=keys)), file=f)
            shutil.rmtree(work)
            longest = max(longest, time.time() - start)
            print(f"{name} seed {seed}: {seconds:.0f} s, wall {trained:.0f} + {time.time() - start - trained:.0f} s, loss {loss}, ppl",
                  " ".join(f"{ppl[str(n)]:.2f}" for n in LENGTHS), "passkey", " ".join(f"{keys[str(n)]:.2f}" for n in LENGTHS), flush=True)


def spread(values, digits):
    """A mean, and with several seeds what they lie between."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(a):
    rows = {}
    for r in map(json.loads, open(a.results)):
        rows.setdefault((r["name"], json.dumps(r["flags"])), []).append(r)
    heads = " / ".join(f"{n // 1024}k" for n in LENGTHS)
    print(f"| recipe | seeds | s | perplexity {heads} | passkey {heads} |\n|---|---|---|---|---|")
    for (name, flags), rs in rows.items():
        words = ", then ".join("`" + shlex.join(p) + "`" for p in json.loads(flags))
        ppl = " / ".join(spread([r["ppl"][str(n)] for r in rs], 2) for n in LENGTHS)
        keys = " / ".join(spread([r["passkey"][str(n)] for r in rs], 2) for n in LENGTHS)
        print(f"| {name}: {words} | {len(rs)} | {spread([r['train_s'] for r in rs], 0)} | {ppl} | {keys} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="command", required=True)
    r = sub.add_parser("run")
    r.add_argument("grid")
    for name in ("longlora", "model", "train", "eval", "results"):
        r.add_argument("--" + name, required=True)
    r.add_argument("--work", default="recipes-work")
    r.add_argument("--until", type=float)
    r.add_argument("--only", nargs="*")
    r.set_defaults(do=run)
    t = sub.add_parser("table")
    t.add_argument("results")
    t.set_defaults(do=table)
    a = p.parse_args()
    a.do(a)


if __name__ == "__main__":
    main()
