#!/usr/bin/env python3
"""Runs a table of training recipes on a real model and writes what each brings.

  run.py run GRID --longlora BIN --model DIR --train F.bin --eval F.bin --results results.jsonl [--work DIR] [--until S] [--only NAME…]
         [--ruler TRIALS [--haystack FILE]] [--elsewhere F.bin] [--merged] [--shared] [--gpus N]
  run.py scale GRID … as run, with --only NAME [--scales S…]
  run.py table results.jsonl

GRID has a recipe a line: `NAME | SEEDS | train's flags [| train's flags of a second run that goes on from the first]`.
A recipe is trained with each seed, judged by perplexity and passkey at several lengths, always under full attention, and
appended to the results as one JSON line; what stands there already is not run again, so an interrupted grid goes on where it
stopped. scale trains a recipe once and judges it merged by several `merge --scale`, 0.5, 0.75 and 1 if none are named.

--merged judges a recipe once more as the checkpoint that merge makes of it: where frozen weights were held in fewer bits, that is
another model than the one that was trained. --ruler judges by the RULER-like tasks too, with so many trials a subtask, --elsewhere
perplexity on text of another kind, which tells what training on one kind costs on others; both run again what stands there without
them, and the table has a column where a result has it. --gpus N runs N recipes side by side, each on a GPU of its own. --shared says that other work uses the GPU too: no seconds are kept. --until
ends it before a recipe that would likely pass so many seconds. Every figure of docs/quality.md comes from here."""
import argparse, json, os, shlex, shutil, statistics, subprocess, sys, threading, time

LENGTHS = [2048, 8192, 16384, 32768]
COMMON = ["--recipe", "paper", "--ctx", "32768", "--accum", "4", "--batch", "1", "--save-every", "100000", "--eval-every", "0"]
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


this = threading.local()  # this.gpu: the one that this thread's recipes run on


def call(*cmd):
    env = os.environ if this.gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": this.gpu}
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    if p.returncode:
        raise RuntimeError(f"{shlex.join(cmd)}: exit {p.returncode}: {p.stderr.strip()[-600:]}")
    return json.loads(p.stdout)


def train(a, phases, seed, work):
    """One run a phase, each going on from the one before: the last one's folder, all seconds, the mean loss at the end."""
    seconds, out = 0, None
    for i, flags in enumerate(phases):
        more = ["--adapter", out] if out else []
        out = os.path.join(work, f"run{i}")
        r = call(a.longlora, "train", "--model", a.model, "--data", a.train, "--out", out, "--seed", str(seed), "--json", *COMMON, *more, *flags)
        seconds += r["seconds"]
    return out, seconds, r["loss_mean"]


def judge(a, model, adapter=None):
    """What eval gives of a model, with an adapter or as it is, at every length."""
    common = ["--model", model, *(["--adapter", adapter] if adapter else []), "--ctx", ",".join(map(str, LENGTHS)), "--json"]
    ppl = call(a.longlora, "eval", "--task", "ppl", "--data", a.eval, "--limit", str(WINDOWS), *common)["results"]
    keys = call(a.longlora, "eval", "--task", "passkey", "--depths", str(DEPTHS), "--trials", str(TRIALS), *common)["results"]
    out = dict(ppl={str(r["ctx"]): r["ppl"] for r in ppl}, passkey={str(r["ctx"]): r["accuracy"] for r in keys},
               right_by_depth={str(r["ctx"]): [c["correct"] for c in r["cells"]] for r in keys})
    if a.elsewhere:
        other = call(a.longlora, "eval", "--task", "ppl", "--data", a.elsewhere, "--limit", str(WINDOWS), *common)["results"]
        out["elsewhere"] = {str(r["ctx"]): r["ppl"] for r in other}
    if a.ruler:
        more = ["--haystack", a.haystack] if a.haystack else []
        ruled = call(a.longlora, "eval", "--task", "ruler", "--trials", str(a.ruler), *more, *common)["results"]
        out["ruler"] = {str(r["ctx"]): dict(score=r["score"], stderr=r["stderr"], **{s["name"]: s["score"] for s in r["subtasks"]}) for r in ruled}
    return out


def scaled(a, phases, seed, work):
    """A recipe trained once, then judged merged by each scale."""
    adapter, seconds, loss = train(a, phases, seed, work)
    for s in a.scales:
        yield dict(scale=s), seconds, loss, merged(a, adapter, s, work)


def merged(a, adapter, scale, work):
    """What eval gives of the checkpoint that merge makes."""
    out = os.path.join(work, f"scaled-{scale}")
    call(a.longlora, "merge", "--model", a.model, "--adapter", adapter, "--scale", scale, "--out", out, "--json")
    judged = judge(a, out)
    shutil.rmtree(out)
    return judged


def whole(a, phases, seed, work):
    """A recipe trained and judged as it is, then merged where that is asked for; `base` is the model before any training."""
    adapter, seconds, loss = train(a, phases, seed, work) if phases != [["base"]] else (None, 0, None)
    yield {}, seconds, loss, judge(a, a.model, adapter)
    if a.merged and adapter:
        yield dict(scale="1"), seconds, loss, merged(a, adapter, "1", work)


def run(a):
    done = set()
    if a.merged:
        a.scales.append("1")
    if os.path.exists(a.results):
        done = {(r["name"], r["seed"], json.dumps(r["flags"])) for r in map(json.loads, open(a.results))
                if ("ruler" in r or not a.ruler) and ("elsewhere" in r or not a.elsewhere) and r.get("scale") == (None if r["flags"] == [["base"]] else a.scales[-1])}
    chip = "cpu"
    if shutil.which("nvidia-smi"):
        chip = subprocess.check_output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], text=True).split("\n")[0]
    todo = [(name, seed, phases) for name, seeds, phases in read_grid(a.grid) for seed in seeds
            if (name, seed, json.dumps(phases)) not in done and (not a.only or name in a.only)]
    grid = Grid(a, todo, chip)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(a.gpus)))).split(",")
    threads = [threading.Thread(target=grid.work, args=(gpu,)) for gpu in (visible[:a.gpus] if a.gpus > 1 else [None])]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


class Grid:
    """Recipes that are to be run, which threads take one after the other."""

    def __init__(self, a, todo, chip):
        self.a, self.todo, self.chip, self.lock = a, todo, chip, threading.Lock()
        self.begin, self.longest = time.time(), 0

    def work(self, gpu):
        this.gpu = gpu
        while recipe := self.next():
            start = time.time()
            if self.one(*recipe):
                self.longest = max(self.longest, time.time() - start)

    def next(self):
        with self.lock:
            gone = time.time() - self.begin
            if self.todo and self.a.until and gone + self.longest > self.a.until:
                print(f"stopping before {self.todo[0][0]}: {gone:.0f} s have gone", flush=True)
                self.todo.clear()
            return self.todo.pop(0) if self.todo else None

    def one(self, name, seed, phases):
        a, work = self.a, os.path.join(self.a.work, f"{name}-{seed}")
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        try:
            for more, seconds, loss, judged in a.each(a, phases, seed, work):
                result = dict(name=name, seed=seed, flags=phases, **more, chip=self.chip, train_s=None if a.shared else round(seconds, 1), loss=loss, **judged)
                with self.lock, open(a.results, "a") as f:
                    print(json.dumps(result), file=f)
                print(f"{name} seed {seed} {more or ''}: {seconds:.0f} s, loss {loss},",
                      ", ".join(what + " " + " ".join(f"{figure(by[str(n)]):.2f}" for n in LENGTHS) for what, by in judged.items()
                                if what != "right_by_depth"), flush=True)
        except RuntimeError as e:
            print(f"{name} seed {seed}: {e}", flush=True)
            return False
        shutil.rmtree(work)
        return True


def figure(v):
    """One number: the score of a RULER-like result, anything else as it is."""
    return v["score"] if isinstance(v, dict) else v


def spread(values, digits):
    """A mean, and with several seeds what they lie between."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def alone(rs):
    """Seconds of training, of the results that have them: one whose run shared its GPU has null."""
    seconds = [r["train_s"] for r in rs if r["train_s"] is not None]
    return spread(seconds, 0) if seconds else "–"


def table(a):
    rows = {}
    for r in map(json.loads, open(a.results)):
        rows.setdefault((r["name"], json.dumps(r["flags"]), r.get("scale")), {})[r["seed"]] = r  # the later one, which may have more
    columns = [("perplexity", "ppl"), ("passkey", "passkey")]
    for title, key in (("RULER-like", "ruler"), ("perplexity elsewhere", "elsewhere")):
        if any(key in r for rs in rows.values() for r in rs.values()):
            columns.append((title, key))
    heads = " / ".join(f"{n // 1024}k" for n in LENGTHS)
    print("| recipe | seeds | s |" + "".join(f" {title} {heads} |" for title, _ in columns) + "\n|---|---|---|" + "---|" * len(columns))
    for (name, flags, scale), by_seed in rows.items():
        rs = list(by_seed.values())
        words = ", then ".join("`" + shlex.join(p) + "`" for p in json.loads(flags)) + (f", merged by `--scale {scale}`" if scale else "")
        cells = []
        for _, key in columns:
            of = [r[key] for r in rs if key in r]
            cells.append(" / ".join(spread([figure(by[str(n)]) for by in of], 2) for n in LENGTHS) if of else "–")
        print(f"| {name}: {words} | {len(rs)} | {alone(rs)} | {' | '.join(cells)} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="command", required=True)
    for command, each in (("run", whole), ("scale", scaled)):
        r = sub.add_parser(command)
        r.add_argument("grid")
        for name in ("longlora", "model", "train", "eval", "results"):
            r.add_argument("--" + name, required=True)
        r.add_argument("--work", default="recipes-work")
        r.add_argument("--shared", action="store_true")
        r.add_argument("--gpus", type=int, default=1, metavar="N")
        r.add_argument("--until", type=float)
        r.add_argument("--only", nargs="*", required=command == "scale")
        r.add_argument("--ruler", type=int, default=0, metavar="TRIALS")
        r.add_argument("--haystack")
        r.add_argument("--elsewhere")
        r.set_defaults(do=run, each=each, scales=[None], merged=False)
        if each is whole:
            r.add_argument("--merged", action="store_true")
    r.add_argument("--scales", nargs="+", default=["0.5", "0.75", "1"])
    t = sub.add_parser("table")
    t.add_argument("results")
    t.set_defaults(do=table)
    a = p.parse_args()
    a.do(a)


if __name__ == "__main__":
    main()
