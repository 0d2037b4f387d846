package cli_test

import (
	"strings"
	"testing"

	"longlora/internal/cli"
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
		v := values(t, "doctor", "--device="+c.device, "--dtype="+c.dtype)
		if p := v.Place(); p.Kind != c.kind || p.Index != c.index {
			t.Errorf("--device %s: %+v", c.device, p)
		}
		err := v.Ready()
		if (err != nil) != (c.names != "") || err != nil && (errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), c.names)) {
			t.Errorf("--device %s --dtype %s: %v, want a refusal of %q", c.device, c.dtype, err, c.names)
		}
	}
}

func TestShiftOnAGPU(t *testing.T) {
	for _, c := range []struct {
		args    []string
		kind    string
		refused bool
	}{{[]string{"--shift=roll"}, "cuda", true}, {[]string{"--shift=roll"}, "cpu", false},
		{[]string{"--attn=full", "--shift=roll"}, "cuda", false}, {nil, "cuda", false}} {
		if err := values(t, "train", c.args...).Place().Check(c.kind); (err != nil) != c.refused {
			t.Errorf("%v on %s: %v", c.args, c.kind, err)
		}
	}
}

// values reads a command line.
func values(t *testing.T, command string, args ...string) *cli.Values {
	t.Helper()
	v, err := read(t, command, args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
