package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	kernels "longlora/csrc/cpu"
	"longlora/internal/cli"
	"longlora/internal/doctor"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/cuda"
	"longlora/internal/proc"
)

func newDoctor() *cobra.Command {
	return command("doctor", "Examine this machine and test the operations on it",
		`Examine this machine and this build: processor, memory, GPUs, driver, CUDA libraries and where they are looked for,
disks, the local Hugging Face cache. Every operation is tested here against float64, on the CPU and on every GPU;
--device cpu or cuda:N leaves out other GPUs. For what is missing it prints the command that mends it. What is missing
is no failure; an operation that computes wrongly is exit 1. Memory limits and --dtype change nothing here.`,
		`# what is here, and what to do about what is not
longlora doctor

# one GPU, for a program to read
longlora doctor --device cuda:0 --json`,
		func(c *cobra.Command, v *cli.Values) error {
			if err := v.Ready(); err != nil {
				return err
			}
			given, err := examine(v.Place(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			r, err := doctor.Run(c.Context(), given, func(what string) {
				fmt.Fprintf(c.ErrOrStderr(), "testing     %s\n",
					what)
			})
			if err != nil {
				return err
			}
			if !v.JSON() {
				r.Print(c.OutOrStdout())
			} else if err := document(c.OutOrStdout(), r); err != nil {
				return err
			}
			if !r.OK {
				return fmt.Errorf("the self-test failed: some operations compute wrongly on this machine")
			}
			return nil
		})
}

// examine is what the build and its backends say.
func examine(at cli.Place, stderr io.Writer) (doctor.Given, error) {
	n := threads(at)
	b := cpu.New(n)
	g := doctor.Given{CPU: b, Kernels: b.Set(), Best: kernels.Best().String(), Threads: n,
		Driver: doctor.Driver{Here: machine.DriverHere()},
		Build: doctor.Build{Version: proc.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			Cgo: kernels.Cgo, CUDA: cuda.Built}}
	where, files := cuda.BLASPlaces()
	for i := range where {
		g.Places = append(g.Places, doctor.Place{Where: where[i], Files: files[i]})
	}
	kind, index := at.Kind, at.Index
	if kind == "cuda" {
		found, err := gpus(kind, stderr)
		if err == nil {
			err = onlyIn(found, index)
		}
		if err != nil {
			return g, err
		}
	}
	found, err := cuda.Devices()
	if err != nil {
		g.Driver.Error = err.Error()
	}
	for _, i := range found {
		g.Driver.Here, g.Driver.CUDA = true, i.Driver
		g.GPUs = append(g.GPUs, doctor.GPU{Device: fmt.Sprintf("cuda:%d", i.Index), Name: i.Name, Major: i.Major,
			Minor: i.Minor, SMs: i.SMs,
			Total: i.Total, Free: i.Free, Skip: kind == "cpu" || kind == "cuda" && i.Index != index,
			Open: func() (ops.Backend, string, int, func() error, error) {
				b, err := cuda.Open(i.Index)
				if err != nil {
					return nil, "", 0, nil, err
				}
				file, version := b.BLAS()
				return b, file, version, b.Close, nil
			}})
	}
	examineNCCL(&g, kind != "auto")
	return g, nil
}
