package cli_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// load reads train's options from a command line, a longlora.yaml in the working directory ("" for none) and the
// environment as it is.
func load(t *testing.T, file string, args ...string) (train.Options, *cli.Values, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if file != "" {
		testkit.Write(t, cli.DefaultFile, file)
	}
	return parse(t, args...)
}

func parse(t *testing.T, args ...string) (train.Options, *cli.Values, error) {
	t.Helper()
	v, err := read(t, "train", args...)
	if err != nil {
		return train.Options{}, v, err
	}
	c, err := v.Train()
	return c, v, err
}

// read gives the options of a command the values of a command line.
func read(t *testing.T, command string, args ...string) (*cli.Values, error) {
	t.Helper()
	fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
	cli.Define(command, fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return cli.Load(fs)
}

const least = "model: m\ndata: d\nout: o\nctx: 64\n"

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		name, file, env string
		args            []string
		want            int
	}{
		{name: "default", want: 16},
		{name: "file", file: "rank: 3\n", want: 3},
		{name: "environment over file", file: "rank: 3\n", env: "4", want: 4},
		{name: "flag over environment", file: "rank: 3\n", env: "4", args: []string{"--rank=5"}, want: 5},
		{name: "flag over file, even with the default's value", file: "rank: 3\n", args: []string{"--rank=8"}, want: 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv("LONGLORA_RANK", c.env)
			}
			got, v, err := load(t, least+c.file, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Rank != c.want {
				t.Errorf("rank %d, want %d", got.Rank, c.want)
			}
			if v.Given("rank") != (c.name != "default") {
				t.Errorf("explicit: %v", v.Given("rank"))
			}
		})
	}
}

// Of two options that exclude each other the stronger source's wins; the other is as if it had not been given.
func TestExclusive(t *testing.T) {
	g := func(file, env string, args ...string) (int, error) {
		t.Helper()
		if env != "" {
			t.Setenv("LONGLORA_GROUP", env)
			defer func() { _ = os.Unsetenv("LONGLORA_GROUP") }()
		}
		c, _, err := load(t, least+file, args...)
		g, bad := c.GroupFor(c.Ctx)
		return g, errors.Join(err, bad)
	}
	for _, c := range []struct {
		file, env string
		args      []string
		want      int // 0: exit 2
	}{
		{want: 16}, {file: "group-size: 10\n", want: 10}, {file: "group: 0.5\n", want: 32},
		{file: "group-size: 10\n", args: []string{"--group=0.5"}, want: 32},
		{file: "group: 0.5\n", args: []string{"--group-size=10"}, want: 10},
		{file: "group-size: 10\n", env: "0.5", want: 32},
		{env: "0.5", args: []string{"--group-size=10"}, want: 10},
		{file: "group: 0.5\ngroup-size: 10\n"},
		{args: []string{"--group=0.5", "--group-size=10"}},
	} {
		got, err := g(c.file, c.env, c.args...)
		if got != c.want && c.want > 0 || (err != nil) != (c.want == 0) || err != nil && errs.Code(err) != 2 {
			t.Errorf("%q %q %v: G %d, %v; want %d", c.file, c.env, c.args, got, err, c.want)
		}
		both := "--group and --group-size"
		if c.file != "" {
			both = "longlora.yaml: group and longlora.yaml: group-size"
		}
		if err != nil && !strings.Contains(err.Error(), both) {
			t.Errorf("%v: names not both by what gave them", err)
		}
	}
}

// A list that loses is as if it had not been given.
func TestExclusiveList(t *testing.T) {
	c, _, err := load(t, least+"eval-data: v.txt\n", "--eval-fraction=0.5")
	if err != nil || len(c.EvalData) != 0 || c.EvalFraction != 0.5 {
		t.Errorf("--eval-data %q, --eval-fraction %v, %v", c.EvalData, c.EvalFraction, err)
	}
}

// Values that exclude another option go by the same rule as options that do.
func TestExclusiveValues(t *testing.T) {
	for _, c := range []struct {
		file string
		args []string
		want string // "": exit 2
		note string
	}{
		{"rope-factor: 4\n", []string{"--rope=none"}, "none 0 lora", "longlora.yaml: rope-factor: 4 is left out: --rope none excludes it"},
		{"rope: none\n", []string{"--rope-factor=4"}, "auto 4 lora", "longlora.yaml: rope: none is left out: --rope-factor 4 excludes it"},
		{"rope: none\nrope-factor: 4\n", nil, "", ""},
		{"", []string{"--rope=none", "--rope-factor=4"}, "", ""},
		{"eval-fraction: 0\n", []string{"--eval-data=v.txt", "--eval-every=1"}, "auto 0 lora", ""},
		{"adapter: run\n", []string{"--tune=full"}, "auto 0 full", "longlora.yaml: adapter: run is left out: --tune full excludes it"},
		{"tune: full\n", []string{"--adapter=run"}, "auto 0 lora run", "longlora.yaml: tune: full is left out: --adapter run excludes it"},
		{"tune: full\nadapter: run\n", nil, "", ""},
		{"weights: nf4\n", []string{"--tune=full"}, "auto 0 full", "longlora.yaml: weights: nf4 is left out: --tune full excludes it"},
		{"tune: full\n", []string{"--weights=fp8"}, "auto 0 lora", "longlora.yaml: tune: full is left out: --weights fp8 excludes it"},
		{"full-last: 0.5\n", []string{"--attn=full"}, "auto 0 lora", "longlora.yaml: full-last: 0.5 is left out: --attn full excludes it"},
		{"eval-data: [v.txt, w.txt]\n", []string{"--eval-fraction=0.5", "--eval-every=1"}, "auto 0 lora", "longlora.yaml: eval-data: v.txt,w.txt is left out: --eval-fraction 0.5 excludes it"},
	} {
		o, v, err := load(t, least+c.file, c.args...)
		if notes := strings.Join(v.Notes()[1:], "; "); err == nil && notes != c.note { // after the one that says there is a file
			t.Errorf("%q %q: notes %q, want %q", c.file, c.args, notes, c.note)
		}
		got := strings.TrimSpace(fmt.Sprint(o.Positions.Rope, " ", o.Positions.Factor, " ", o.Tune, " ", o.Adapter))
		if (err != nil) != (c.want == "") || err == nil && got != c.want || err != nil && errs.Code(err) != 2 {
			t.Errorf("%q %q: %s, %v; want %s", c.file, c.args, got, err, c.want)
		}
	}
}

// --group is a decimal number, taken as it is written.
func TestGroup(t *testing.T) {
	for s, want := range map[string]int{".5": 32, "5e-1": 32, "+0.5": 32, "1.": 64, "0.49999999999999999999": 31, "1/2": 0, "0x1p-1": 0, "0b1": 0, "0.5_0": 0, "Inf": 0, "1e-999999999": 0} {
		c, _, err := load(t, least, "--group="+s)
		if g, _ := c.GroupFor(c.Ctx); g != want || (err != nil) != (want == 0) || err != nil && !strings.Contains(err.Error(), "--group "+s) {
			t.Errorf("--group %s: G %d, %v; want %d", s, g, err, want)
		}
	}
}

func TestLists(t *testing.T) {
	t.Setenv("LONGLORA_DATA", "a.txt, b.txt")
	t.Setenv("LONGLORA_EVAL_ATTN", "s2,full")
	c, _, err := load(t, "model: m\nout: o\nctx: 64\ntargets: [q_proj, v_proj]\neval_data: x.txt,y.txt\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][2][]string{{c.Data, {"a.txt", "b.txt"}}, {c.EvalAttn, {"s2", "full"}}, {c.Targets, {"q_proj", "v_proj"}}, {c.EvalData, {"x.txt", "y.txt"}}} {
		if !reflect.DeepEqual(x[0], x[1]) {
			t.Errorf("%v, want %v", x[0], x[1])
		}
	}
	// A part of a YAML list may hold a comma.
	if c, _, err = load(t, least+"eval-data: [\"one,file.txt\"]\n"); err != nil || !reflect.DeepEqual(c.EvalData, []string{"one,file.txt"}) {
		t.Errorf("%v %v", c.EvalData, err)
	}
	// A path on the command line may hold a comma.
	if c, _, err = load(t, least, "--data=one,file.txt"); err != nil || !reflect.DeepEqual(c.Data, []string{"one,file.txt"}) {
		t.Errorf("%v %v", c.Data, err)
	}
}

// Keys may be written with - or _, and belong to any command.
func TestFileKeys(t *testing.T) {
	c, _, err := load(t, least+"max_grad_norm: 0.5\nwarmup-steps: 7\nlr: 1e-4\ntrain_embed: false\ntrials: 4\n")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Each(t, c, map[string]bool{"max_grad_norm": c.MaxGradNorm == 0.5, "warmup-steps": c.WarmupSteps == 7, "lr": *c.LR == 1e-4, "train_embed": !c.TrainEmbed})
	// --config names another file, which is then the only one.
	other := filepath.Join(t.TempDir(), "other.yaml")
	testkit.Write(t, other, least+"rank: 2\n")
	testkit.Write(t, cli.DefaultFile, "rank: 9\nalpha: 1\n")
	if c, _, err = parse(t, "--config", other); err != nil || c.Rank != 2 || c.Alpha != 32 {
		t.Errorf("rank %d, alpha %v: %v", c.Rank, c.Alpha, err)
	}
	t.Setenv("LONGLORA_CONFIG", other)
	if c, _, err = parse(t); err != nil || c.Rank != 2 {
		t.Errorf("LONGLORA_CONFIG: rank %d: %v", c.Rank, err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", least + "warmup_step: 3\n", "did you mean warmup-steps?"},
		{"unknown key, nothing near", least + "zzzzzzzz: 3\n", "zzzzzzzz is no option"},
		{"a file that names another", least + "config: other.yaml\n", "longlora.yaml: config: a file of options names no other"},
		{"not YAML", "a: [", "not YAML"},
		{"a map", least + "rank: {a: 1}\n", "longlora.yaml: rank"},
		{"not a number", least + "rank: many\n", "longlora.yaml: rank"},
		{"not a value of the option", least + "shift: spilt\n", "longlora.yaml: shift: spilt: not one of split, roll; did you mean split?"},
		{"not a part of a list", least + "eval-attn: [s2, ful]\n", "longlora.yaml: eval-attn: ful: not one of s2, full; did you mean full?"},
		{"a batch", least + "batch: 9223372036854775807\n", "longlora.yaml: batch: 9223372036854775807: must be from 1 to 2^20"},
		{"a batch of long rows", "model: m\ndata: d\nout: o\nctx: 1073741824\nbatch: 2\n", "--batch 2: rows of --ctx 1073741824"},
		{"accumulation", least + "accum: 9223372036854775807\n", "longlora.yaml: accum: 9223372036854775807: must be"},
		{"an epsilon of no float32", least + "eps: 1e-46\n", "longlora.yaml: eps: 1e-46: must be"},
		{"an epsilon above all float32", least + "eps: 1e39\n", "longlora.yaml: eps: 1e+39: must be"},
		{"a group", least + "group-size: 4611686018427387904\n", "longlora.yaml: group-size: 4611686018427387904: must be"},
		{"a length", least + "base-ctx: 4611686018427387904\n", "longlora.yaml: base-ctx: 4611686018427387904: must be"},
		{"a factor", least + "rope-factor: 1e300\n", "longlora.yaml: rope-factor: 1e+300: must be from 1 to 2^20"},
		{"threads", least + "threads: 100000\n", "longlora.yaml: threads: 100000: must be"},
		{"missing", "model: m\nctx: 64\n", "missing: --data, --out; give them as flags, in longlora.yaml or as"},
		{"given as nothing", "model: ''\ndata: []\nctx: 64\nout: o\n", "missing: --model (longlora.yaml: model is given, but empty), --data (longlora.yaml: data is given, but empty)"},
		{"no value", least + "adapter:\n", "longlora.yaml: adapter: it has no value"},
		{"a path of nothing", least + "adapter: ''\n", "longlora.yaml: adapter: it has no value"},
		{"a list of nothing", least + "eval-attn: []\n", "longlora.yaml: eval-attn: it has no value"},
		{"a share of nothing", least + "full-last: ''\n", "longlora.yaml: full-last: it has no value"},
		{"full twice", least + "attn: full\nfull-last: 0.5\n", "longlora.yaml: attn full is full in every step, and longlora.yaml: full-last in"},
		{"a list of lists", least + "targets: [[q_proj]]\n", "longlora.yaml: targets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.file)
			if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want exit 2 and %q", err, c.want)
			}
		})
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("LONGLORA_RANK", "x")
		if _, _, err := load(t, least); errs.Code(err) != 2 || !strings.Contains(err.Error(), "LONGLORA_RANK") {
			t.Errorf("%v", err)
		}
	})
	t.Run("both of the environment", func(t *testing.T) {
		t.Setenv("LONGLORA_ATTN", "full")
		t.Setenv("LONGLORA_FULL_LAST", "0.5")
		_, _, err := load(t, least)
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), "LONGLORA_ATTN full is full in every step, and LONGLORA_FULL_LAST") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no option's variable", func(t *testing.T) {
		t.Setenv("LONGLORA_FULLLAST", "0.5")
		t.Setenv("LONGLORA_DEBUG", "1")
		t.Setenv("longlora_rank", "4")
		t.Setenv("LONGLORA_TRIALS", "1") // another command's
		_, v, err := load(t, least)
		if err != nil {
			t.Fatal(err)
		}
		want := "LONGLORA_FULLLAST is no option's variable and has no effect; did you mean LONGLORA_FULL_LAST?"
		if got := strings.Join(v.Notes(), "\n"); !strings.Contains(got, want) || strings.Count(got, "LONGLORA_F") != 2 ||
			!strings.Contains(got, "longlora_rank is no option's variable and has no effect; did you mean LONGLORA_RANK?") ||
			strings.Contains(got, "DEBUG") || strings.Contains(got, "TRIALS") {
			t.Errorf("%q, want %q", got, want)
		}
	})
	for pair, want := range map[string]string{
		"LONGLORA_DEBUG=true":         `LONGLORA_DEBUG is "true": not one of 0, 1`,
		"LONGLORA_CPU=avx3":           `LONGLORA_CPU is "avx3": not one of plain, avx2, avx512`,
		"LONGLORA_JOIN_SECONDS=a day": `LONGLORA_JOIN_SECONDS is "a day": not a whole number from 1 to 1048576`,
		"LONGLORA_JOIN_SECONDS=0":     `LONGLORA_JOIN_SECONDS is "0": not a whole number from 1 to 1048576`,
		"LONGLORA_STALL_SECONDS=-1":   `LONGLORA_STALL_SECONDS is "-1": not a whole number from 0 to 1048576; see docs/distributed.md, or unset it`,
		"LONGLORA_CPU=plain":          "", // which all machines have
		"LONGLORA_DEBUG=":             "", // as if it were not set
	} {
		t.Run("variable "+pair, func(t *testing.T) {
			name, value, _ := strings.Cut(pair, "=")
			t.Setenv(name, value)
			_, _, err := load(t, least)
			if want == "" && err != nil || want != "" && (errs.Code(err) != 2 || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v; want %q", err, want)
			}
		})
	}
	t.Run("a file of nothing", func(t *testing.T) {
		if _, _, err := load(t, least, "--config="); errs.Code(err) != 2 || !strings.Contains(err.Error(), "--config: it has no value") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if _, _, err := load(t, "", "--config=none.yaml"); errs.Code(err) != 2 || !strings.Contains(err.Error(), "none.yaml") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no file of the environment", func(t *testing.T) {
		t.Setenv("LONGLORA_CONFIG", "none.yaml")
		if _, _, err := load(t, ""); errs.Code(err) != 2 || !strings.Contains(err.Error(), "LONGLORA_CONFIG: none.yaml: no such file") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a group of processes", func(t *testing.T) {
		t.Setenv("WORLD_SIZE", "2")
		fs := pflag.NewFlagSet("merge", pflag.ContinueOnError)
		cli.Define("merge", fs)
		if _, err := cli.Load(fs); errs.Code(err) != 2 || !strings.Contains(err.Error(), "WORLD_SIZE") {
			t.Errorf("%v", err)
		}
	})
}

// What a run writes down starts the same run again.
func TestEffective(t *testing.T) {
	c, _, err := load(t, least, "--rank=4", "--targets=q_proj,v_proj", "--eval-fraction=0.1", "--group-size=10")
	if err != nil {
		t.Fatal(err)
	}
	e := map[string]any{}
	for _, x := range c.Settings {
		e[string(x.Option)] = x.Value
	}
	for k, want := range map[string]any{"rank": train.Number("4"), "targets": []string{"q_proj", "v_proj"}, "ctx": train.Number("64"),
		"lr": train.Number("auto"), "group-size": train.Number("10"), "data": []string{"d"}, "out": "o"} {
		if !reflect.DeepEqual(e[k], want) {
			t.Errorf("%s: %v, want %v", k, e[k], want)
		}
	}
	for _, k := range []string{"threads", "config", "json", "resume"} {
		if _, ok := e[k]; ok {
			t.Errorf("%s is of this call, not of the run", k)
		}
	}
}

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{"stps": "; did you mean --steps?", "qqqqqqqqqqqq": "", "no-shuffle": "; did you mean --shuffle=false?",
		"no-rank": "; did you mean --rank?", "CTX": "; did you mean --ctx?", "max-ctx": "; it is an option of plan"} {
		if got := cli.Suggest("train", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A value in a shared file that only another command takes leaves the default and a note; what none takes is refused,
// naming the file and the key.
func TestSharedValue(t *testing.T) {
	for _, x := range []struct {
		name, file string
		args       []string
		note, err  string
	}{
		{name: "a choice of another", file: least + "dtype: fp16\n", note: "longlora.yaml: dtype: fp16 is for other commands; here --dtype is auto"},
		{name: "a stronger source", file: least + "dtype: fp16\n", args: []string{"--dtype", "fp32"}},
		{name: "nobody's", file: least + "dtype: fp61\n", err: "longlora.yaml: dtype: fp61: not one of auto, fp32, bf16"},
		{name: "not in a flag", file: least, args: []string{"--dtype", "fp16"}, err: "--dtype fp16: not one of"},
		{name: "another's list", file: "model: m\ndata: d\nout: o\nctx: [64, 128]\n", args: nil,
			note: "longlora.yaml: ctx: 64,128 is for other commands; here --ctx is left out", err: "missing: --ctx; give it as a flag, in longlora.yaml or as a LONGLORA_… variable"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, v, err := load(t, x.file, x.args...)
			if x.err == "" && err != nil || x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err) || errs.Code(err) != 2) {
				t.Fatalf("error %v, want %q", err, x.err)
			}
			notes := v.Notes()
			if n := len(notes) - 1; !strings.HasPrefix(notes[n], "longlora.yaml of this folder sets model, data") {
				t.Errorf("the last note is %q, which does not say that the file is used", notes[n])
			}
			if got := strings.Join(notes[:len(notes)-1], "; "); got != x.note {
				t.Errorf("notes %q, want %q", got, x.note)
			}
			if dtype := v.Place().DType; x.note != "" && (dtype != "auto" || v.Given("dtype")) {
				t.Errorf("dtype %s, given %v", dtype, v.Given("dtype"))
			}
		})
	}
}

// Text of a file is text, whatever YAML would make of it; numbers and truth values may be spelled as YAML has them.
func TestFileText(t *testing.T) {
	for _, text := range []string{"2024.10", "007", "1e5", "yes", "no", "true", "True", "0x1f", "0o17", "1_000", "12:30", "2024-10-01", ".5", "+1", "~x/y", "./~/x"} {
		c, _, err := load(t, "model: m\ndata: ["+text+", d]\nctx: 64\nout: "+text+"\n")
		if err != nil || c.Out != text || c.Data[0] != text {
			t.Errorf("%s: out %q, data %q: %v", text, c.Out, c.Data, err)
		}
	}
	c, _, err := load(t, "model: &m m\ndata: d\nctx: 0x40\nout: *m\nsteps: 1e3\nseed: 1_000\nlr: 1E-4\nshuffle: False\ntargets: [q_proj]\ngroup: .25\n")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Each(t, c, map[string]bool{"ctx": c.Ctx == 64, "out": c.Out == "m", "steps": c.Steps == 1000, "seed": c.Seed == 1000, "lr": *c.LR == 1e-4,
		"shuffle": !c.Shuffle, "targets": reflect.DeepEqual(c.Targets, []string{"q_proj"}), "group": c.Group == ".25"})
	for _, file := range []string{"", "# nothing\n", "---\n"} {
		if _, _, err := load(t, file, "--model=m", "--data=d", "--ctx=64", "--out=o"); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
	for file, want := range map[string]string{
		least + "out: null\n": "out", least + "rank: ~\n": "it has no value", least + "---\nrank: 4\n": "more than one YAML document",
		least + "rank: 4\nRANK: 5\n": "rank stands twice", least + "max-grad-norm: 1\nmax_grad_norm: 1\n": "max-grad-norm stands twice", "- 1\n": "not a list of options",
		least + "rank: !x 4\n": "!x", least + "<<: {rank: 4}\n": "<< is no option", least + "? [a]\n: 4\n": "no option", "just text": "not a list of options",
	} {
		if _, _, err := load(t, file); errs.Code(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
	}
}

// roundTrip writes texts as options and reads them again.
func roundTrip(t *testing.T, out string, data []string) {
	t.Helper()
	b, err := train.YAML([]train.Setting{{Option: "model", Value: "m"}, {Option: "data", Value: data}, {Option: "out", Value: out},
		{Option: "ctx", Value: train.Number("64")}, {Option: "train-norm", Value: false}})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, string(b))
	if err != nil || c.Out != out || !reflect.DeepEqual(c.Data, data) || c.Ctx != 64 || c.TrainNorm {
		t.Errorf("%q and %q came back as %q and %q: %v\n%s", out, data, c.Out, c.Data, err, b)
	}
}

// Every text that a run writes down comes back as it was.
func TestTextComesBack(t *testing.T) {
	for _, text := range []string{"2024.10", "007", "1e5", "yes", "null", "~x", "./~", "./~/x", "0x1f", "0o17", "true", "Off", "y", "1_0", "12:30:45", ".inf", ".nan", "2024-10-01", "<<", "=",
		" a b ", "a: b", "a #b", "#a", "- a", "[a]*?", "{a}", "*a", "&a", "!a", "%a", "@a", "`a`", "'a'", `"a"`, `a\nb`, "a\nb\n", "\ta", "a,b", "ä", "日本", "\u0085", "\u2028", "\ufeff", "\x01", "\x7f", "a\xffb", "\xff", strings.Repeat("long words ", 30)} {
		roundTrip(t, text, []string{text + "x", "d"})
	}
}

func FuzzText(f *testing.F) {
	f.Add("2024.10")
	f.Add("a\xffb\n")
	f.Fuzz(func(t *testing.T, text string) {
		if text != "" && !strings.ContainsRune(text, 0) { // it may be a path
			roundTrip(t, text, []string{"x" + text})
		}
	})
}

// What the command line gives and the rest leaves without effect is said; a file may be shared.
func TestIdle(t *testing.T) {
	for args, want := range map[string]string{
		"--tune=full --rank=4 --targets=q_proj":    "--rank, --targets have no effect: --tune full trains every weight",
		"--attn=full --group=0.5":                  "--group has no effect under --attn full",
		"--eval-attn=s2,full":                      "--eval-attn has no effect without --eval-every",
		"--eval-data=v.txt":                        "--eval-data has no effect without --eval-every: nothing is validated",
		"--eval-fraction=0.1":                      "--eval-fraction holds rows out that nothing is validated on; add --eval-every N",
		"--tile=1000000":                           "--tile has no effect: it is more than the ",
		"--eval-fraction=0 --tile=16":              "",
		"--attn=s2 --group=0.5 --rank=4 --alpha=8": "",
	} {
		_, v, err := load(t, least, strings.Fields(args)...)
		if notes := strings.Join(v.Notes()[1:], "; "); err != nil || !strings.HasPrefix(notes, want) || want == "" && notes != "" {
			t.Errorf("%s: %q, %v; want %q", args, notes, err, want)
		}
	}
	if _, v, err := load(t, least+"tune: full\nrank: 4\n"); err != nil || len(v.Notes()) != 1 {
		t.Errorf("of a file: %q, %v", v.Notes(), err)
	}
}

// A file of options that is a link to nothing is no file that is not there: somebody means it to have effect.
func TestFileLeadsNowhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Symlink("gone.yaml", cli.DefaultFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := parse(t); errs.Code(err) != 2 || !strings.Contains(err.Error(), "longlora.yaml: a link to gone.yaml") {
		t.Errorf("%v", err)
	}
}

// What the wrapped variant cannot compute is refused by every command that steps.
func TestRollIsOneTile(t *testing.T) {
	v, err := read(t, "bench", "--ctx=64", "--shift=roll", "--tile=32")
	if err == nil {
		_, err = v.Bench()
	}
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "--tile 32 is less than --ctx 64") {
		t.Errorf("%v", err)
	}
}
