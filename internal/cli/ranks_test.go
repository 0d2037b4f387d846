package cli_test

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/errs"
)

// A plan knows how many processes share a step's rows.
func TestPlannedRanks(t *testing.T) {
	for _, c := range []struct {
		args         []string
		want, micros int
		err          string
	}{
		{nil, 1, 8, ""}, {[]string{"--gpus=4"}, 4, 2, ""}, {[]string{"--gpus=4", "--batch=4", "--accum=2"}, 4, 1, ""},
		{[]string{"--gpus=all"}, 0, 0, "--gpus all: plan"}, {[]string{"--gpus=3"}, 0, 0, "--accum=9"}, {[]string{"--sequence-ranks=2"}, 0, 0, "give --gpus 2 too"},
		{[]string{"--gpus=4", "--sequence-ranks=2", "--accum=6"}, 4, 3, ""}, {[]string{"--gpus=6", "--sequence-ranks=4"}, 0, 0, "no whole number"},
	} {
		fs := pflag.NewFlagSet("plan", pflag.ContinueOnError)
		cli.Define("plan", fs)
		if err := fs.Parse(append([]string{"--shape=tiny", "--ctx=64"}, c.args...)); err != nil {
			t.Fatal(err)
		}
		v, err := cli.Load(fs)
		if err != nil {
			t.Fatal(err)
		}
		o, err := v.Plan()
		if c.err != "" {
			if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: %v, want %q", c.args, err, c.err)
			}
			continue
		}
		if err != nil || o.At[0].Processes != c.want || o.At[0].Memory.Machine != c.want || o.At[0].Micros() != c.micros {
			t.Errorf("%v: %+v, %v", c.args, o, err)
		}
	}
}

// Which groups the options and the environment ask for, and what they can not mean.
func TestRanks(t *testing.T) {
	const group = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=a MASTER_PORT=1"
	for name, c := range map[string]struct {
		env  string
		args []string
		n    int
		all  bool
		size int
		err  string
	}{
		"alone":                {"", nil, 1, false, 1, ""},
		"two":                  {"", []string{"--gpus=2"}, 2, false, 1, ""},
		"all":                  {"", []string{"--gpus=all"}, 0, true, 1, ""},
		"a launcher's":         {group, nil, 1, false, 2, ""},
		"a launcher's of one":  {"RANK=0 WORLD_SIZE=1", []string{"--gpus=2"}, 2, false, 1, ""},
		"both":                 {group, []string{"--gpus=2"}, 0, false, 0, "--gpus 2 starts processes"},
		"both, of one":         {group, []string{"--gpus=1"}, 0, false, 0, "--gpus 1 starts processes"},
		"half a set":           {"WORLD_SIZE=2", nil, 0, false, 0, "WORLD_SIZE is set, but not RANK"},
		"one GPU":              {"", []string{"--gpus=2", "--device=cuda:1"}, 0, false, 0, "--device cuda:1"},
		"one GPU of a group":   {group, []string{"--device=cuda:0"}, 0, false, 0, "--device cuda:0"},
		"no share":             {"", []string{"--gpus=3"}, 0, false, 0, "--accum=9"},
		"no share of a group":  {group, []string{"--accum=3"}, 0, false, 0, "--accum=4"},
		"a row among several":  {"", []string{"--sequence-ranks=2"}, 0, false, 0, "--sequence-ranks 2"},
		"an odd batch, shared": {"", []string{"--gpus=3", "--batch=3"}, 3, false, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range strings.Fields(c.env) {
				n, x, _ := strings.Cut(pair, "=")
				t.Setenv(n, x)
			}
			fs := pflag.NewFlagSet("train", pflag.ContinueOnError)
			cli.Define("train", fs)
			if err := fs.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			v, err := cli.Load(fs)
			if err != nil {
				t.Fatal(err)
			}
			p, n, all, err := v.Ranks()
			if c.err != "" {
				if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil || p.Size != c.size || n != c.n || all != c.all {
				t.Errorf("%+v, %d, %v, %v", p, n, all, err)
			}
		})
	}
}
