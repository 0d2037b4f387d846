package config

import (
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Common are the options of every command that computes.
type Common struct {
	Config    string
	JSON      bool
	Threads   int
	Device    string
	DType     string
	DeviceMem string
	HostMem   string
}

// Flags defines the common options.
func (c *Common) Flags(f *pflag.FlagSet) {
	f.StringVar(&c.Config, "config", "", "YAML file of options (default longlora.yaml where there is one)")
	f.BoolVar(&c.JSON, "json", false, "print one JSON document on stdout when done")
	f.IntVar(&c.Threads, "threads", 0, "CPU threads (0: all cores)")
}

// ComputeFlags defines the options of commands that compute.
func (c *Common) ComputeFlags(f *pflag.FlagSet) {
	c.Flags(f)
	f.StringVar(&c.DType, "dtype", "auto", "auto (fp32 on the CPU, bf16 on a GPU), fp32 or bf16")
	OneOf(f, "dtype", "auto", "fp32", "bf16")
	c.DeviceFlags(f)
}

// DeviceFlags defines where to compute and with how much memory.
func (c *Common) DeviceFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Device, "device", "auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
	usual(f, "device", "auto", "cpu", "cuda", "cuda:0")
	f.StringVar(&c.DeviceMem, "device-mem", "", "device memory to use, as 24GiB (default what is free)")
	f.StringVar(&c.HostMem, "host-mem", "", "host memory to use (default 80 % of what is available)")
}

// CheckDevice checks the options of ComputeFlags as far as that can be done without looking at what is here.
func (c *Common) CheckDevice() error {
	kind, _, err := c.Where()
	if err != nil {
		return err
	}
	if kind != "auto" {
		if err := c.CheckDType(kind); err != nil {
			return err
		}
	}
	return c.CheckPlace()
}

// What numbers may be at most, so that nothing that is counted with them overflows.
const (
	mostTokens  = 1 << 30
	mostTimes   = 1 << 20
	mostThreads = 1 << 14
)

// CheckPlace checks the options of DeviceFlags and the threads.
func (c *Common) CheckPlace() error {
	if _, _, err := c.Where(); err != nil {
		return err
	}
	if err := c.checkThreads(); err != nil {
		return err
	}
	for _, m := range [][2]string{{"device-mem", c.DeviceMem}, {"host-mem", c.HostMem}} {
		if m[1] == "" {
			continue
		}
		if _, err := ParseBytes(m[0], m[1]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Common) checkThreads() error {
	if c.Threads < 0 || c.Threads > mostThreads {
		return errs.Usagef("--threads %d: must be from 0 to %d", c.Threads, mostThreads)
	}
	return nil
}

// Where is the kind of device asked for, "auto", "cpu" or "cuda", and its number.
func (c *Common) Where() (kind string, index int, err error) {
	kind, number, numbered := strings.Cut(c.Device, ":")
	if numbered {
		index, err = strconv.Atoi(number)
	}
	switch {
	case err != nil || index < 0 || numbered && kind != "cuda" || kind != "auto" && kind != "cpu" && kind != "cuda":
		return "", 0, errs.Usagef("--device %s: not one of auto, cpu, cuda, cuda:N", c.Device)
	}
	return kind, index, nil
}

// CheckDType refuses a type that a kind of device does not compute in.
func (c *Common) CheckDType(kind string) error {
	switch {
	case kind == "cpu" && c.DType == "bf16":
		return errs.Usagef("--dtype bf16: the CPU computes in fp32 only; use --dtype auto or a GPU")
	case kind == "cuda" && c.DType == "fp32":
		return errs.Usagef("--dtype fp32: a GPU computes in bf16 only; use --dtype auto or --device cpu")
	}
	return nil
}

// Attend are the options of how attention is computed.
type Attend struct {
	Attn, Shift, Group string
	GroupSize          int
}

// AttendFlags defines them; attn is the default of what --attn may be.
func (a *Attend) AttendFlags(f *pflag.FlagSet, attn string, may ...string) {
	what := "attention: "
	if slices.Contains(may, "auto") {
		what += "auto (s2), "
	}
	f.StringVar(&a.Attn, "attn", attn, what+"s2 (shifted sparse) or full")
	OneOf(f, "attn", may...)
	f.StringVar(&a.Shift, "shift", "split", "s2's shift: split (nothing sees the future) or roll (the paper's pseudo-code)")
	OneOf(f, "shift", "split", "roll")
	f.StringVar(&a.Group, "group", "0.25", "group size as a fraction of the context")
	TokensVar(f, &a.GroupSize, "group-size", 0, "group size in tokens, instead of --group")
}

// CheckShift refuses a shift that a kind of device does not compute.
func (a *Attend) CheckShift(kind string) error {
	if kind == "cuda" && a.Attn == "s2" && a.Shift == "roll" {
		return errs.Usagef("--shift roll runs on the CPU only; use --shift split, or --device cpu")
	}
	return nil
}

// decimal is a number as --group has it: big.Rat alone would read 1/4 and 0x1p-2 too.
var decimal = regexp.MustCompile(`^\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// GroupFor is G for a context.
func (a *Attend) GroupFor(v *Values, ctx int) (int, error) {
	if a.Attn == "full" {
		return 0, nil
	}
	if v.Explicit("group-size") {
		if a.GroupSize < 2 || a.GroupSize > mostTokens {
			return 0, errs.Usagef("--group-size %d: must be from 2 to 2^30", a.GroupSize)
		}
		return a.GroupSize, nil
	}
	r := new(big.Rat)
	ok := decimal.MatchString(a.Group)
	if ok {
		_, ok = r.SetString(a.Group)
	}
	if !ok || r.Sign() <= 0 || r.Cmp(big.NewRat(1, 1)) > 0 {
		return 0, errs.Usagef("--group %s: not a decimal number above 0 and at most 1, as 0.25", a.Group)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(ctx)))
	g := int(new(big.Int).Quo(r.Num(), r.Denom()).Int64())
	if g < 2 {
		return 0, errs.Usagef("--group %s of --ctx %d is a group of %d tokens; at least 2 are needed", a.Group, ctx, g)
	}
	return g, nil
}

// Rope are the options of positions.
type Rope struct {
	Rope    string
	Factor  float64
	BaseCtx int
}

// RopeFlags defines them.
func (r *Rope) RopeFlags(f *pflag.FlagSet) {
	f.StringVar(&r.Rope, "rope", "auto", "positions: auto, none, linear, ntk, dynamic, yarn or llama3")
	OneOf(f, "rope", "auto", "none", "linear", "ntk", "dynamic", "yarn", "llama3")
	f.Float64Var(&r.Factor, "rope-factor", 0, "scaling factor, counted from the pre-training length")
	TokensVar(f, &r.BaseCtx, "base-ctx", 0, "pre-training length, where the config does not say it")
}

// Asked reports whether other positions are asked for than those that a model or an adapter has: auto in a file, as a run
// leaves it, is nothing but the default.
func (r *Rope) Asked(v *Values) bool {
	return v.Explicit("rope-factor") || v.Explicit("rope") && !(r.Rope == "auto" && v.InFile("rope"))
}

// CheckRope validates them.
func (r *Rope) CheckRope(v *Values) error {
	if r.Rope == "none" && v.Exclusive("rope", "rope-factor") != nil {
		return errs.Usagef("--rope none and --rope-factor exclude each other: none is without scaling")
	}
	if v.Explicit("rope-factor") && !(r.Factor >= 1 && !math.IsInf(r.Factor, 0)) {
		return errs.Usagef("--rope-factor %v: must be a number from 1 on", r.Factor)
	}
	if v.Explicit("base-ctx") && (r.BaseCtx < 1 || r.BaseCtx > mostTokens) {
		return errs.Usagef("--base-ctx %d: must be from 1 to 2^30", r.BaseCtx)
	}
	return nil
}
