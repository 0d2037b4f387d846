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

// A chip and a device of another kind exclude each other.
func TestChipAndDevice(t *testing.T) {
	for _, c := range []struct {
		env, device string // LONGLORA_DEVICE, --device
		chips, kind string // what is planned for
		note, err   string
	}{
		{"cpu", "", "h100,l4", "auto", "LONGLORA_DEVICE=cpu is left out: --chip h100,l4 excludes it", ""},
		{"", "cpu", "", "", "", "--chip h100 and --device cpu say different things"},
		{"cuda", "", "h100,l4", "cuda", "", ""},
	} {
		args := []string{"--shape=tiny", "--ctx=64", "--chip=h100,l4"}
		if c.env != "" {
			t.Setenv("LONGLORA_DEVICE", c.env)
		}
		if c.device != "" {
			t.Setenv("LONGLORA_DEVICE", "")
			args = append(args, "--device="+c.device)
		}
		v := values(t, "plan", args...)
		o, err := v.Plan()
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %v", c, err)
		}
		if got := strings.Join(o.Chips, ","); err == nil && (got != c.chips || v.Place().Kind != c.kind || strings.Join(v.Notes(), "; ") != c.note) {
			t.Errorf("%+v: %s on %s, notes %q", c, got, v.Place().Kind, v.Notes())
		}
	}
	t.Setenv("LONGLORA_DEVICE", "auto")
	t.Setenv("LONGLORA_CHIP", "h100")
	v := values(t, "plan", "--shape=tiny", "--ctx=64", "--device=cpu")
	if o, err := v.Plan(); err != nil || len(o.Chips) != 1 || o.Chips[0] != "auto" || len(v.Notes()) != 1 {
		t.Errorf("LONGLORA_CHIP beside --device cpu: %v, %v, notes %q", o.Chips, err, v.Notes())
	}
}
