package main

import (
	"bytes"
	"strings"
	"testing"
)

// What is typed wrongly is answered by what is meant, on one line, and nothing is printed as a result.
func TestMistypedFlags(t *testing.T) {
	for line, want := range map[string]string{
		"--json":                       "unknown flag: --json; options follow a command, as longlora plan --ctx 16384",
		"train --no-shuffle":           "unknown flag: --no-shuffle; did you mean --shuffle=false?",
		"train --no_train_embed":       "did you mean --train-embed=false?",
		"completion bash --json":       "bash: unknown flag: --json\n",
		"train --CTX 64":               "unknown flag: --CTX; did you mean --ctx?",
		"train --no-rank":              "did you mean --rank?",
		"train --trials 3":             "unknown flag: --trials; it is an option of extend, eval",
		"eval --rank=8":                "it is an option of train, extend, plan, bench",
		"eval --learning-rate 1":       "unknown flag: --learning-rate",
		"train --shuffle false":        `train: "false" belongs to no option: did you mean --shuffle=false?`,
		"train --json --shuffle false": "did you mean --shuffle=false?",
		"train ctx=64":                 "did you mean --ctx=64?",
		"train --ctx":                  "train: flag needs an argument: --ctx",
		"generate --prompt once upon":  `generate: "upon" belongs to no option: each value follows its option, in quotes where it has spaces`,
		"plan --ctx 1e3":               "plan: --ctx 1e3: not a count of tokens such as 32768 or 32k",
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), strings.Fields(line), &out, &errOut)
		if code != 2 || out.Len() > 0 || !strings.Contains(errOut.String(), want) || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, %q and %q; want %q", line, code, &out, &errOut, want)
		}
	}
}

// Of a flag given twice the last one counts, and a note says so where they differ; lists are added up.
func TestRepeatedFlags(t *testing.T) {
	for line, want := range map[string]string{
		"--ctx 64 --lr 1e-3 --lr=1e-4":                         "note: --lr 1e-3 is left out: --lr 1e-4 is given after it\n",
		"--ctx 64 --json --json=false":                         "note: --json true is left out: --json false is given after it\n",
		"--ctx 64 --rank 4 --rank 4":                           "",
		"--ctx 64 --ctx 128 --targets q_proj --targets=k_proj": "",
	} {
		var out, errOut bytes.Buffer
		args := append([]string{"plan", "--shape", "tiny", "--chip", "h100", "--host-mem", "8G"}, strings.Fields(line)...)
		if code := run(t.Context(), args, &out, &errOut); code != 0 || !strings.Contains(errOut.String(), want) ||
			want == "" && strings.Contains(errOut.String(), "left out") {
			t.Errorf("%s: exit code %d, %q; want %q", line, code, &errOut, want)
		}
	}
}
