package main

import (
	"fmt"
	"io"
	"runtime"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/cuda"
	"longlora/internal/plan"
	"longlora/internal/ui"
)

// onDevice runs f with the backend that the options ask for; stderr says which that is.
func onDevice(at cli.Place, log io.Writer, f func(ops.Backend) error) error {
	threads(at)
	kind := at.Kind
	if kind != "cpu" {
		found, err := gpus(kind, log)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			kind = "cpu"
		} else if kind, err = "cuda", onlyIn(found, at.Index); err != nil {
			return err
		}
	}
	if err := at.Check(kind); err != nil {
		return err
	}
	if kind == "cpu" {
		b := cpu.New(threads(at))
		ui.Fact(log, "device", "cpu, %s (%s)", ui.Count(b.Threads(), "thread"), b.Set())
		return f(b)
	}
	b, err := cuda.Open(at.Index)
	if err != nil {
		return err
	}
	i := b.Info()
	ui.Fact(log, "device", "%s, %s, %s of %s free", b.Name(), i.Name, ui.Bytes(i.Free), ui.Bytes(i.Total))
	if err = plan.Warm(b); err == nil {
		err = machine.Learn(b, log)
	}
	if err == nil {
		err = f(b)
	}
	if closing := b.Close(); err == nil {
		err = closing
	}
	return err
}

// gpus lists the GPUs, none where the CPU is to be used instead: that is said on log, or an error where one was asked
// for.
func gpus(kind string, log io.Writer) ([]cuda.Info, error) {
	if !cuda.Built {
		switch {
		case kind == "cuda":
			return nil, errs.Usagef("--device cuda: this build has no CUDA; build it with 'make cuda', or use --device cpu")
		case machine.DriverHere():
			fmt.Fprintln(log, "warning: there is an NVIDIA driver here, but this build has no CUDA: computing on the CPU. "+
				"Build with 'make cuda', or say --device cpu")
		}
		return nil, nil
	}
	found, err := cuda.Devices()
	switch {
	case err != nil && kind == "cuda":
		return nil, errs.Usagef("--device cuda: %w; use --device cpu, or mend the driver", err)
	case err != nil:
		fmt.Fprintf(log, "warning: computing on the CPU: %v\n", err)
		return nil, nil
	case len(found) == 0 && kind == "cuda":
		return nil, errs.Usagef("--device cuda: the driver gives no GPU; use --device cpu, or look at nvidia-smi")
	}
	return found, nil
}

// onlyIn refuses a number that no GPU has.
func onlyIn(found []cuda.Info, index int) error {
	if index < len(found) {
		return nil
	}
	return errs.Usagef("--device cuda:%d: there are %d GPUs here, cuda:0 is the first", index, len(found))
}

// threads sets and returns the number of CPU threads.
func threads(at cli.Place) int {
	if at.Threads > 0 {
		runtime.GOMAXPROCS(at.Threads)
	}
	return runtime.GOMAXPROCS(0)
}
