package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/testkit"
)

// A measured folder has rates and no file more than before; one that cannot be written says so.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	d := look("TMPDIR", dir)
	d.measure()
	if d.Error != "" || d.Free <= 0 || d.Total < d.Free || d.Free >= spareBytes && (d.Write <= 0 || d.Read <= 0) {
		t.Errorf("%+v", d)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if d = look("TMPDIR", filepath.Join(dir, "none")); d.Error == "" {
		t.Error("a missing folder is no error")
	}
	d.measure()
	if d.Write != 0 {
		t.Error("a missing folder was measured")
	}
}

// sick gives a wrong number in SwiGLU.
type sick struct{ *cpu.Backend }

func (s sick) SwiGLUForward(h, g, u ops.Tensor) {
	s.Backend.SwiGLUForward(h, g, u)
	h.F32()[0] += 1
}

func TestInterrupt(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := selfTest(ctx, cpu.New(1), ""); errs.Code(err) != int(errs.Interrupted) {
		t.Errorf("interrupted: %v", err)
	}
}

// Each lack has its command, and a machine with everything has none.
func TestNotes(t *testing.T) {
	whole := func() *Report {
		return &Report{Build: Build{Cgo: true, CUDA: true}, CPU: machine.CPU{Kernels: "avx2"}, Driver: Driver{Here: true,
			CUDA: 13000, Cards: 1},
			GPUs: []GPU{{Device: "cuda:0", Major: 9}}, Disks: []Disk{{Of: "TMPDIR", Free: tight}}, Hub: Hub{Here: true}}
	}
	if n := whole().notes("avx2"); len(n) != 0 {
		t.Errorf("nothing is missing, but: %v", n)
	}
	for _, c := range []struct {
		name, mend string
		lack       func(r *Report)
	}{
		{"no cgo", "CGO_ENABLED=1 make", func(r *Report) { r.Build.Cgo = false }},
		{"narrow kernels", "unset LONGLORA_CPU", func(r *Report) { r.CPU.Kernels = "plain" }},
		{"no CUDA", "make cuda", func(r *Report) { r.Build.CUDA, r.GPUs = false, nil }},
		{"no driver", "sudo ubuntu-drivers install", func(r *Report) { r.Driver.Here, r.GPUs = false, nil }},
		{"a silent driver", "nvidia-smi", func(r *Report) { r.Driver.Error, r.GPUs = "cuInit returned 999", nil }},
		{"no GPU", "unset CUDA_VISIBLE_DEVICES && nvidia-smi", func(r *Report) { r.GPUs = nil }},
		{"no NCCL", "pip install nvidia-nccl-cu13", func(r *Report) {
			r.Build.CUDA, r.GPUs = true, append(r.GPUs,
				r.GPUs[0])
		}},
		{"no sums", "NCCL_DEBUG=INFO longlora doctor", func(r *Report) { r.NCCL = NCCL{File: "f", Error: "it fails"} }},
		{"no cuBLASLt", "pip install nvidia-cublas", func(r *Report) {
			r.GPUs[0].Error = "cuBLASLt (libcublasLt.so.13) " +
				"was not found"
		}},
		{"no cuBLASLt, driver of CUDA 12", "pip install nvidia-cublas-cu12", func(r *Report) {
			r.GPUs[0].Error,
				r.Driver.CUDA = "cuBLASLt was not found", 12040
		}},
		{"an old GPU", "longlora train --device cpu …", func(r *Report) {
			r.GPUs[0].Error, r.GPUs[0].Major = "compute "+
				"capability 7.0", 7
		}},
		{"a broken GPU", "nvidia-smi", func(r *Report) { r.GPUs[0].Error = "out of memory" }},
		{"a full disk", "export TMPDIR=/a/folder/on/a/larger/disk", func(r *Report) { r.Disks[0].Free = 5 }},
		{"no hub", "hf download meta-llama/Llama-2-7b-hf", func(r *Report) { r.Hub.Here = false }},
		{"wrong on the CPU", "LONGLORA_CPU=plain longlora doctor --device cpu",
			func(r *Report) { r.SelfTest = []SelfTest{{Device: "cpu", Failures: []string{"x"}}} }},
		{"wrong on a GPU", "longlora doctor --device cpu", func(r *Report) {
			r.SelfTest = []SelfTest{{Device: "cuda:0",
				Failures: []string{"x"}}}
		}},
	} {
		r := whole()
		c.lack(r)
		n := r.notes("avx2")
		if len(n) != 1 || n[0].Mend != c.mend {
			t.Errorf("%s: %v, want %q", c.name, n, c.mend)
			continue
		}
		r.Notes = n
		var b bytes.Buffer
		if r.Print(&b); !strings.Contains(b.String(), "\n  "+c.mend+"\n") {
			t.Errorf("%s is not printed: %s", c.name, b.String())
		}
	}
}

// The CPU's operations are right. A GPU that computes wrongly is found out, and closed; one that does not open is
// noted.
func TestRun(t *testing.T) {
	operations = func() []string { return []string{"rmsnorm", "swiglu"} } // all of them take seconds; doctor's script has them
	defer func() { operations = optest.Ops }()
	closed := 0
	open := func() (ops.Backend, string, int, func() error, error) {
		return sick{cpu.New(2)}, "libcublasLt.so.13", 130100, func() error { closed++; return nil }, nil
	}
	refuse := func() (ops.Backend, string, int, func() error, error) {
		return nil, "", 0, nil, errors.New("cuBLASLt was not found")
	}
	b := cpu.New(2)
	var begun []string
	r, err := Run(context.Background(), Given{CPU: b, Kernels: b.Set(), Best: b.Set(), Threads: 2,
		Build: Build{CUDA: true}, GPUs: []GPU{
			{Device: "cuda:0", Open: open, Major: 9}, {Device: "cuda:1", Open: refuse, Major: 9}, {Device: "cuda:2",
				Skip: true}}}, func(s string) { begun = append(begun, s) })
	if err != nil {
		t.Fatal(err)
	}
	if len(r.SelfTest) != 2 {
		t.Fatalf("%d tests, %+v", len(r.SelfTest), r.GPUs)
	}
	testkit.Each(t, r, map[string]bool{"ok": !r.OK, "closed once": closed == 1,
		"BLAS of the first":   r.GPUs[0].BLASV == 130100,
		"error of the second": r.GPUs[1].Error != "", "four begun": len(begun) == 4})
	right := r.SelfTest[0]
	testkit.Each(t, right, map[string]bool{"the CPU's failures": len(right.Failures) == 0,
		"its outputs":       right.Outputs >= 20,
		"the worst of them": right.Worst > 0 && right.Worst <= 1, "its name": right.WorstOf != ""})
	wrong := r.SelfTest[1]
	if len(wrong.Failures) == 0 || slices.ContainsFunc(wrong.Failures, func(s string) bool {
		return !strings.HasPrefix(s,
			"swiglu ")
	}) || wrong.Worst <= 1 {
		t.Errorf("failures %q, worst %g", wrong.Failures, wrong.Worst)
	}
	var text bytes.Buffer
	r.Print(&text)
	for _, want := range []string{"program     longlora", "outputs judged, 0 wrong", "outputs judged, " + fmt.Sprint(len(wrong.Failures)) + " wrong"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s\nhas no %q", &text, want)
		}
	}
	if r.Memory.Total < r.Memory.Available || r.Memory.Available <= 0 || r.CPU.Threads != 2 || len(r.Disks) != 2 {
		t.Errorf("%+v %+v %+v", r.Memory, r.CPU, r.Disks)
	}
}
