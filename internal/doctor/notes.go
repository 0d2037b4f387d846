package doctor

import (
	"fmt"
	"strings"

	"longlora/internal/errs"
)

// tight is what a checkpoint of a small model wants at least.
const tight = 2 << 30

// notes are the lacks and what mends them. best is the widest set of kernels that the CPU has.
func (r *Report) notes(best string) []Note {
	out := []Note{}
	device := errs.Option("device").String()
	note := func(mend, lack string, a ...any) { out = append(out, Note{fmt.Sprintf(lack, a...), mend}) }
	if !r.Build.Cgo {
		note("CGO_ENABLED=1 make", "built without cgo: the CPU's kernels are plain Go, many times slower; a C compiler is "+
			"needed to build")
	}
	if r.CPU.Kernels != best {
		note("unset LONGLORA_CPU", "LONGLORA_CPU asks for %s kernels; this processor has %s", r.CPU.Kernels, best)
	}
	switch d := r.Driver; {
	case d.Here && !r.Build.CUDA:
		note("make cuda", "there is an NVIDIA driver here, but this build has no CUDA: everything runs on the CPU")
	case d.Cards > 0 && !d.Here:
		note("sudo ubuntu-drivers install", "there is an NVIDIA card here but no driver (other systems: nvidia.com/drivers; "+
			"in a container: docker run --gpus all)")
	case d.Error != "":
		note("nvidia-smi", "the driver does not answer: %s", d.Error)
	case d.Here && len(r.GPUs) == 0:
		note("unset CUDA_VISIBLE_DEVICES && nvidia-smi", "there is an NVIDIA driver here, but it gives no GPU")
	}
	for _, g := range r.GPUs {
		switch {
		case g.Error == "":
		case strings.Contains(g.Error, "cuBLASLt"):
			wheel := "nvidia-cublas"
			if r.Driver.CUDA < 13000 {
				wheel = "nvidia-cublas-cu12"
			}
			note("pip install "+wheel, "%s cannot be used: cuBLASLt was not found or does not open", g.Device)
		case g.Major < 8:
			note("longlora train "+device+" cpu …", "%s: %s", g.Device, g.Error)
		default:
			note("nvidia-smi", "%s cannot be used: %s", g.Device, g.Error)
		}
	}
	if n := r.NCCL; len(r.GPUs) > 1 && n.File == "" && r.Build.CUDA {
		note("pip install nvidia-nccl-cu13", "there are %d GPUs, and NCCL, by which they add up, was not found", len(r.GPUs))
	} else if n.Error != "" {
		note("NCCL_DEBUG=INFO longlora doctor", "the GPUs do not add up: %s", n.Error)
	}
	for _, d := range r.Disks {
		mend := "cd /a/folder/on/a/larger/disk"
		if d.Of == "TMPDIR" {
			mend = "export TMPDIR=/a/folder/on/a/larger/disk"
		}
		switch {
		case d.Error != "":
			note(mend, "%s cannot be written: %s", d.Of, d.Error)
		case d.Free < tight:
			note(mend, "little space in %s (%s)", d.Of, d.Path)
		}
	}
	if !r.Hub.Here {
		note("hf download meta-llama/Llama-2-7b-hf", "no Hugging Face cache at %s: %s takes folders only until a model is "+
			"there (hf comes with pip install huggingface_hub)",
			r.Hub.Path, errs.Option("model"))
	}
	for _, t := range r.SelfTest {
		if len(t.Failures) == 0 {
			continue
		}
		if t.Device == "cpu" {
			note("LONGLORA_CPU=plain longlora doctor "+device+" cpu", "%d outputs of the CPU's operations are wrong: do not "+
				"train here; see whether the plain kernels are right, and report it", len(t.Failures))
		} else {
			note("longlora doctor "+device+" cpu", "%d outputs of %s's operations are wrong: do not train on it; report it "+
				"with this output", len(t.Failures), t.Device)
		}
	}
	return out
}
