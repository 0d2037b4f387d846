package cli

import (
	"strconv"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/plan"
)

// Place is where a command computes, and in which type.
type Place struct {
	Kind    string // auto, cpu or cuda
	Index   int    // of the GPU
	DType   string // auto, fp32 or bf16
	Threads int    // 0: all cores
	Rolls   bool   // the wrapped variant is asked for
}

// Place is where the options ask to compute; Ready has checked them.
func (v *Values) Place() Place {
	p := Place{Threads: v.whole("threads"), DType: "auto"}
	if v.option("device") != nil {
		p.Kind, p.Index, _ = parseDevice(v.text("device"))
	}
	if v.option("dtype") == Find("train", "dtype") { // merge has another one
		p.DType = v.text("dtype")
	}
	if v.option("shift") != nil {
		p.Rolls = v.attention().Rolls()
	}
	return p
}

// Check refuses what a kind of device does not compute.
func (p Place) Check(kind string) error {
	if err := p.checkType(kind); err != nil {
		return err
	}
	if kind == "cuda" && p.Rolls {
		return errs.Usagef("--shift roll runs on the CPU only; use --shift split, or --device cpu")
	}
	return nil
}

func (p Place) checkType(kind string) error {
	switch {
	case kind == "cpu" && p.DType == "bf16":
		return errs.Usagef("--dtype bf16: the CPU computes in fp32 only; use --dtype auto or a GPU")
	case kind == "cuda" && p.DType == "fp32":
		return errs.Usagef("--dtype fp32: a GPU computes in bf16 only; use --dtype auto or --device cpu")
	}
	return nil
}

// parseDevice splits cuda:1 into its kind, "auto", "cpu" or "cuda", and its number.
func parseDevice(s string) (kind string, index int, ok bool) {
	kind, number, numbered := strings.Cut(s, ":")
	var err error
	if numbered {
		index, err = strconv.Atoi(number)
	}
	if err != nil || index < 0 || numbered && kind != "cuda" || kind != "auto" && kind != "cpu" && kind != "cuda" {
		return "", 0, false
	}
	return kind, index, true
}

// device is a check of a device's name.
func device(value string) string {
	if _, _, ok := parseDevice(value); !ok {
		return "not one of auto, cpu, cuda, cuda:N"
	}
	return ""
}

// memory is how much memory the options allow.
func (v *Values) memory() plan.Memory {
	return plan.Memory{Device: v.bytes("device-mem"), Host: v.bytes("host-mem")}
}
