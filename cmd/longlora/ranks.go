package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/ops"
	"longlora/internal/ops/cuda"
	"longlora/internal/proc"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// onCPU is the device of a rank without a GPU.
const onCPU = "cpu"

// sharesCards is NCCL's variable that lets several ranks use one GPU.
const sharesCards = "NCCL_MULTI_RANK_GPU_ENABLE"

// rank is this process in its group, or alone.
type rank struct {
	ctx   context.Context
	at    cli.Place
	group *dist.Group // nil where it is alone
	log   io.Writer   // of rank 0; the others' is read by nobody

	machine, card int    // ranks on this machine, and on this one's card
	apart         string // why those can not read each other's memory; "" where they can
	chain         int    // ranks that divide a row; 0 where they add nothing up

	watch *dist.Watch // of its work
}

// fill has a training run do this rank's part.
func (r rank) fill(o *train.Options) {
	o.Ranks, o.Watch, o.Memory.Machine, o.Memory.Card = r.group, r.watch, r.machine, r.card
	o.Processes, o.Peers, o.Apart = r.group.Size(), r.machine, r.apart
	if r.apart != "" {
		o.Peers = 1
	}
}

// place is where the environment puts this process; who does not run as a group reads the fault of half a set.
func place() dist.Place {
	p, err := dist.FromEnvironment(os.Getenv)
	if err != nil {
		return dist.Place{Size: 1}
	}
	return p
}

// grouped runs f on a device, as the rank of a group that a launcher made this process, or in as many processes as
// --gpus asks for, or alone.
func grouped(c *cobra.Command, v *cli.Values, f func(r rank, be ops.Backend) error) error {
	log, at := c.ErrOrStderr(), v.Place()
	p, n, all, err := v.Ranks()
	if err != nil {
		return err
	}
	if p.Size == 1 {
		if n, err = count(v, n, all, log); err != nil {
			return err
		}
		if n > 1 && !v.DryRun() {
			return launch(c.Context(), n, log)
		}
		r := rank{ctx: c.Context(), at: at, log: log, machine: n, card: 1} // its memory is shared as the processes would
		if r.group, err = imagined(n, v); err != nil {
			return err
		}
		if r.watch, err = dist.NewWatch(func(s *dist.Stall) { dying(log)(s) }); err != nil {
			return err
		}
		return onDevice(at, log, func(be ops.Backend) error { return f(r, be) })
	}
	if v.DryRun() {
		if p.Rank > 0 {
			return nil
		}
		r := rank{ctx: c.Context(), at: at, log: log, machine: 1, card: 1}
		if r.group, err = imagined(p.Size, v); err != nil {
			return err
		}
		return onDevice(at, log, func(be ops.Backend) error { return f(r, be) })
	}
	return asRank(c, p, at, log, v.Chain(), f)
}

// imagined is the group of so many processes for what is said before they are there; nil for one.
func imagined(n int, v *cli.Values) (*dist.Group, error) {
	if n == 1 {
		return nil, nil
	}
	g := dist.Imagined(n)
	return g, g.Divide(v.Chain())
}

// launched runs f on a device, as the rank of a group that a launcher made this process, or alone. The ranks tell each
// other what they found, and add nothing up.
func launched(c *cobra.Command, v *cli.Values, f func(r rank, be ops.Backend) error) error {
	p, err := v.Launched()
	if err != nil {
		return err
	}
	if p.Size > 1 {
		return asRank(c, p, v.Place(), c.ErrOrStderr(), 0, f)
	}
	return onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) error {
		return f(rank{ctx: c.Context(), at: v.Place(), log: c.ErrOrStderr(), machine: 1, card: 1}, be)
	})
}

// count is how many processes --gpus asks for.
func count(v *cli.Values, n int, all bool, log io.Writer) (int, error) {
	at := v.Place()
	if n == 1 {
		return 1, nil
	}
	if at.Kind == "cpu" {
		if all {
			return 0, errs.Usagef("--gpus all counts GPUs, and --device cpu uses none; give the number of processes")
		}
		return n, nil
	}
	found, err := gpus(at.Kind, log)
	switch {
	case err != nil:
		return 0, err
	case all && len(found) == 0:
		return 0, errs.Usagef("--gpus all: there is no GPU here; --device cpu with a number starts processes on the CPU")
	case all:
		n = len(found)
	case len(found) == 0:
		fmt.Fprintf(log, "note: there is no GPU here; --gpus %d starts so many processes on the CPU\n", n)
	case n > len(found) && os.Getenv(sharesCards) != "1":
		return 0, errs.Usagef("--gpus %d: this machine has %s; give at most so many, or set %s=1 (NCCL 2.30.3 or "+
			"later) to have several processes share one", n, ui.Count(len(found), "GPU"), sharesCards)
	}
	return n, v.Divides(n)
}

// launch starts the group's processes and watches them.
func launch(ctx context.Context, n int, log io.Writer) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the program's own file: %w", err)
	}
	defer proc.Hold(ctx)() // the processes may be saving
	return dist.Launch{Size: n, Program: program, Args: os.Args, Stdout: os.Stdout, Stderr: os.Stderr, Log: log}.Run(ctx)
}

// asRank meets the other ranks and works with them, in chains of so many that divide rows; 0 where they add nothing up.
func asRank(c *cobra.Command, p dist.Place, at cli.Place, log io.Writer, chain int, f func(r rank,
	be ops.Backend) error) error {
	shown := log
	if p.Rank > 0 {
		log = io.Discard
	}
	p.Bound(proc.Ask)
	build, err := build()
	if err != nil {
		return err
	}
	job, err := dist.Join(c.Context(), p, build, shown, proc.Ask, dying(shown))
	if err != nil {
		return err
	}
	r := rank{ctx: job.Context(c.Context()), at: at, log: log, group: job.Group, chain: chain}
	if r.watch, err = job.Watch(); err == nil {
		err = r.work(job, f)
	}
	return job.End(err)
}

// dying ends the process where its work can not.
func dying(log io.Writer) func(error) {
	return func(err error) {
		if !toldElsewhere(err) {
			fmt.Fprintf(log, "longlora: %s\n", errs.Plain(err))
		}
		os.Exit(errs.Code(err))
	}
}

// work settles on a device and works there.
func (r rank) work(job *dist.Job, f func(r rank, be ops.Backend) error) error {
	device, err := r.choose(job.Place)
	if err != nil {
		return err
	}
	var lib *cuda.NCCL
	version, how := "", "they tell each other results over TCP"
	if r.chain > 0 {
		lib, version, how = sums(device, r.log)
		if err := r.group.Divide(r.chain); err != nil {
			return err
		}
	}
	if err := job.Introduce(device, version); err != nil {
		return err
	}
	r.machine, r.card = job.Cards()
	where := "this machine"
	if n := job.Machines(); n > 1 {
		where = fmt.Sprintf("%d machines", n)
	}
	if r.chain > 1 {
		how = fmt.Sprintf("%d divide a row; %s", r.chain, how)
	}
	ui.Fact(r.log, "ranks", "%d processes on %s, by %s; %s", job.Size(), where, job.Place.By, how)
	if err := r.shares(lib); err != nil {
		return err
	}
	if r.at.Threads == 0 {
		r.at.Threads = runtime.NumCPU()
	}
	r.at.Threads = max(1, r.at.Threads/r.machine)
	return onDevice(r.at, r.log, func(be ops.Backend) error {
		if lib == nil {
			return f(r, be)
		}
		r.watch.Mend("The same command goes on from what is saved, or begins again")
		r.watch.At("joining", "joining the ranks' GPUs", 0)
		stop := r.watch.Run()
		err := r.connect(lib, be.(*cuda.Backend))
		stop()
		if err != nil {
			return err
		}
		err = f(r, be)
		if err != nil { // the others may be in the middle of a sum
			lib.Abort()
		}
		lib.Close()
		return err
	})
}

// sums opens the library by which GPUs add up, where the device is one, and says how the ranks do. Without the library
// GPUs do so through host memory.
func sums(device string, log io.Writer) (lib *cuda.NCCL, version, how string) {
	if device == onCPU {
		return nil, "", "they sum over TCP"
	}
	lib, err := cuda.OpenNCCL()
	if err != nil {
		why, _, _ := strings.Cut(err.Error(), ". Looked in") // which doctor says
		fmt.Fprintf(log, "warning: %s\n", why)
		return nil, "", "their GPUs sum through host memory and TCP, which is slow: NCCL was not found"
	}
	_, n := lib.File()
	return lib, spelled(n), "their GPUs sum by NCCL " + spelled(n)
}

// shares refuses several ranks on one card where nobody asked for that, or NCCL does not know how.
func (r rank) shares(lib *cuda.NCCL) error {
	const since = 23003
	if r.card == 1 || r.at.Kind != "cuda" || lib == nil {
		return nil
	}
	if os.Getenv(sharesCards) != "1" {
		return errs.Usagef("%d ranks are on one GPU; start one a GPU, or set %s=1 (NCCL 2.30.3 or later)", r.card,
			sharesCards)
	}
	if _, n := lib.File(); n < since {
		return errs.Usagef("%d ranks are on one GPU, and NCCL is %s: 2.30.3 or later lets several use one", r.card,
			spelled(n))
	}
	if os.Getenv("NCCL_MAX_CTAS") == "" { // the ranks' kernels must be on the card at once
		return os.Setenv("NCCL_MAX_CTAS", "4")
	}
	return nil
}

// connect joins the ranks' GPUs.
func (r rank) connect(lib *cuda.NCCL, b *cuda.Backend) error {
	var id []byte
	if r.group.Rank() == 0 {
		var err error
		if id, err = lib.ID(); err != nil {
			return err
		}
	}
	all, err := r.group.Gather(id)
	if err != nil {
		return err
	}
	if err := lib.Join(b, all[0], r.group.Rank(), r.group.Size(), r.card, r.group.Barrier); err != nil {
		return err
	}
	r.group.Use(lib)
	rank, size := r.group.InChain()
	if size == 1 {
		return nil
	}
	if id, err = nil, nil; rank == 0 {
		id, err = lib.ChainIDs()
	}
	if err == nil {
		all, err = r.group.Gather(id)
	}
	if err == nil {
		err = lib.Chain(all[r.group.Rank()-rank], rank, size, r.card, r.group.Barrier)
	}
	return err
}

// build is what tells this program from others.
func build() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("the program's own file: %w", err)
	}
	print, err := files.Sample(program, "longlora")
	if err != nil {
		return "", err
	}
	return proc.Version() + " " + print.SHA256[:12], nil
}

// choose makes the device that is this rank's the one to work on, and returns its name in the world.
func (r *rank) choose(p dist.Place) (string, error) {
	if r.at.Kind == onCPU {
		return onCPU, nil
	}
	found, err := gpus(r.at.Kind, r.log)
	if err != nil || len(found) == 0 {
		return onCPU, err
	}
	r.at.Kind, r.at.Index = "cuda", p.Local%len(found)
	for i := range found {
		if !cuda.CanRead(r.at.Index, i) {
			r.apart = "the GPUs can not read each other's memory"
		}
	}
	return found[r.at.Index].UUID, nil
}

// toldElsewhere reports whether another process says what is wrong.
func toldElsewhere(err error) bool {
	var e *dist.Ended
	return errors.As(err, &e) && e.Told
}
