package config

import (
	"strings"
	"testing"

	"longlora/internal/errs"
)

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		device, dtype string
		kind          string
		index         int
		names         string // what the refusal names, "" for none
	}{
		{"auto", "auto", "auto", 0, ""}, {"cpu", "fp32", "cpu", 0, ""}, {"cuda", "bf16", "cuda", 0, ""}, {"cuda:3", "auto", "cuda", 3, ""},
		{"auto", "bf16", "auto", 0, ""}, // refused where there is no GPU
		{"cpu", "bf16", "cpu", 0, "--dtype bf16"}, {"cuda", "fp32", "cuda", 0, "--dtype fp32"},
		{"cuda:", "auto", "", 0, "--device cuda:"}, {"cuda:-1", "auto", "", 0, "--device cuda:-1"}, {"cpu:0", "auto", "", 0, "--device cpu:0"},
		{"rocm", "auto", "", 0, "--device rocm"}, {"", "auto", "", 0, "--device"},
	} {
		o := Common{Device: c.device, DType: c.dtype}
		kind, index, err := o.Where()
		if kind != c.kind || index != c.index || (err != nil) != (c.kind == "") {
			t.Errorf("--device %s: %s %d %v", c.device, kind, index, err)
		}
		err = o.CheckDevice()
		if (err != nil) != (c.names != "") || err != nil && (errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), c.names)) {
			t.Errorf("--device %s --dtype %s: %v, want a refusal of %q", c.device, c.dtype, err, c.names)
		}
	}
}

func TestShiftOnAGPU(t *testing.T) {
	for _, c := range []struct {
		a       Attend
		kind    string
		refused bool
	}{{Attend{Attn: "s2", Shift: "roll"}, "cuda", true}, {Attend{Attn: "s2", Shift: "roll"}, "cpu", false},
		{Attend{Attn: "full", Shift: "roll"}, "cuda", false}, {Attend{Attn: "s2", Shift: "split"}, "cuda", false}} {
		if err := c.a.CheckShift(c.kind); (err != nil) != c.refused {
			t.Errorf("%+v on %s: %v", c.a, c.kind, err)
		}
	}
}
