// Package doctor says what this machine and this build have, tests the operations on it, and gives the command that
// mends each lack.
package doctor

import (
	"context"
	"fmt"
	"os"

	"longlora/internal/hub"
	"longlora/internal/machine"
	"longlora/internal/ops"
)

// Build is the program.
type Build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Cgo      bool   `json:"cgo"`
	CUDA     bool   `json:"cuda"`
}

// GPU is a device as the driver describes it. Open gives its backend, the cuBLASLt file and version in use, and what
// closes it.
type GPU struct {
	Device string `json:"device"` // "cuda:0"
	Name   string `json:"name"`
	Major  int    `json:"compute_major"`
	Minor  int    `json:"compute_minor"`
	SMs    int    `json:"multiprocessors"`
	Total  int64  `json:"memory_total"`
	Free   int64  `json:"memory_free"`
	// the file; "" where it was not opened
	BLAS string `json:"cublaslt"`
	// 130100 is 13.1.0
	BLASV int `json:"cublaslt_version"`
	// why it cannot be used
	Error string                                                                          `json:"error,omitempty"`
	Open  func() (b ops.Backend, blas string, version int, close func() error, err error) `json:"-"`
	Skip  bool                                                                            `json:"-"` // not asked for
}

// Place is somewhere that cuBLASLt is looked for, and what is opened there.
type Place struct {
	Where string   `json:"where"`
	Files []string `json:"files"`
}

// Driver is NVIDIA's.
type Driver struct {
	Here    bool   `json:"here"`
	Version string `json:"version"` // "" where the system does not say
	CUDA    int    `json:"cuda"`    // CUDA version that it supports, 13000 for 13.0; 0 where it was not asked
	Cards   int    `json:"cards"`   // NVIDIA display controllers on the PCI bus
	Error   string `json:"error,omitempty"`
}

// Hub is the local Hugging Face cache.
type Hub struct {
	Path   string `json:"path"`
	Here   bool   `json:"here"`
	Models int    `json:"models"`
}

// Note is something that is missing and the command that mends it.
type Note struct {
	Lack string `json:"lack"`
	Mend string `json:"mend"`
}

// Report is all that there is to say.
type Report struct {
	OK       bool           `json:"ok"` // every self-test passed
	Build    Build          `json:"build"`
	CPU      machine.CPU    `json:"cpu"`
	Memory   machine.Memory `json:"memory"`
	Driver   Driver         `json:"driver"`
	GPUs     []GPU          `json:"gpus"`
	CuBLASLt []Place        `json:"cublaslt_places"`
	NCCL     NCCL           `json:"nccl"`
	Disks    []Disk         `json:"disks"`
	Hub      Hub            `json:"hub"`
	SelfTest []SelfTest     `json:"self_test"`
	Notes    []Note         `json:"notes"`
}

// Given is what only the command knows: the build and its backends.
type Given struct {
	Build   Build
	CPU     ops.Backend
	Kernels string // the CPU's
	Best    string // the widest that the CPU has
	Threads int
	Driver  Driver
	GPUs    []GPU
	Places  []Place
	NCCL    NCCL
	Sum     func() (Sum, error) // over all GPUs; nil where there are not several
}

// Run examines the machine; it takes a few seconds. begun is told what comes next.
func Run(ctx context.Context, g Given, begun func(what string)) (*Report, error) {
	r := &Report{OK: true, Build: g.Build, Driver: g.Driver, GPUs: append([]GPU{}, g.GPUs...), CuBLASLt: append([]Place{},
		g.Places...)}
	r.NCCL = g.NCCL
	r.CPU = machine.ThisCPU()
	r.CPU.Threads, r.CPU.Kernels = g.Threads, g.Kernels
	var err error
	if r.Memory, err = machine.HostMemory(); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	r.Driver.Version, r.Driver.Cards = machine.NVIDIA()
	begun("disks")
	r.Disks = disks()
	r.Hub = localHub()
	begun("operations on the CPU")
	if err := r.test(ctx, g.CPU, g.Kernels); err != nil {
		return nil, err
	}
	for i := range r.GPUs {
		if d := &r.GPUs[i]; !d.Skip {
			begun("operations on " + d.Device)
			if err := r.testGPU(ctx, d); err != nil {
				return nil, err
			}
		}
	}
	r.testSum(g, begun)
	r.Notes = r.notes(g.Best)
	return r, nil
}

func (r *Report) test(ctx context.Context, b ops.Backend, kernels string) error {
	t, err := selfTest(ctx, b, kernels)
	if err != nil {
		return err
	}
	r.OK = r.OK && len(t.Failures) == 0
	r.SelfTest = append(r.SelfTest, t)
	return nil
}

// testGPU opens a GPU and tests it; one that does not open is noted, not an error.
func (r *Report) testGPU(ctx context.Context, d *GPU) error {
	b, file, version, stop, err := d.Open()
	if err != nil {
		d.Error = err.Error()
		return nil
	}
	d.BLAS, d.BLASV = file, version
	err = r.test(ctx, b, fmt.Sprintf("compute %d.%d", d.Major, d.Minor))
	if closing := stop(); err == nil {
		err = closing
	}
	return err
}

func localHub() Hub {
	h := Hub{Path: hub.Cache()}
	st, err := os.Stat(h.Path)
	h.Here = err == nil && st.IsDir()
	h.Models = len(hub.Models())
	return h
}
