package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/par"
	"longlora/internal/testkit"
	"longlora/internal/ui"
)

var rewrite = flag.Bool("rewrite", false, "write docs/cli.md again")

const cliDoc = "../../docs/cli.md"

// docs/cli.md says what the commands say.
func TestCLIDoc(t *testing.T) {
	want := cliText(newRoot())
	if *rewrite {
		testkit.Write(t, cliDoc, want)
	}
	if got, err := os.ReadFile(cliDoc); err != nil || string(got) != want {
		t.Errorf("docs/cli.md is not what the commands say (%v); make docs writes it again", err)
	}
}

const cliHead = `# The command line

Made from the commands by ` + "`make docs`" + `. ` + "`longlora COMMAND --help`" + ` says the same.

Options come from flags, from variables (` + "`LONGLORA_MAX_GRAD_NORM=1`" + `, lists by comma), from a YAML file (` + "`--config FILE`" + `, or
` + "`longlora.yaml`" + ` in the working folder) and from defaults; the first that speaks wins (an empty variable
says nothing, with a note). A file's keys are the options' names,
with ` + "`-` or `_`" + `; it may be shared between commands: a key that no command has is refused, and a value
that only other commands take leaves the default here, with a note. Results go to stdout, with
` + "`--json`" + ` as one document; progress, notes and errors go to stderr.

%s
Training that makes no progress for ten minutes, and for twenty times as long as it took before or was predicted to take, ends with
exit 1 and says what stands still. ` + "`LONGLORA_STALL_SECONDS`" + ` sets the seconds; 0 waits for ever.

` + "`make install`" + ` brings manual pages (` + "`man longlora-train`" + `) and shell completion, which knows commands, options and their values,
folders, and models of the local Hugging Face cache. Without make:

` + "```sh" + `
longlora man --out ~/.local/share/man/man1
longlora completion bash > ~/.local/share/bash-completion/completions/longlora
longlora completion zsh > "${fpath[1]}/_longlora"
longlora completion fish > ~/.config/fish/completions/longlora.fish
` + "```" + `
`

// cliText is docs/cli.md. What extend, plan and bench share with train is named, not said again.
func cliText(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, cliHead, exitCodes)
	train, _, _ := root.Find([]string{"train"})
	for _, c := range own(root) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```sh\n%s\n```\n", c.Name(), c.Long, c.Example)
		var same []string
		for _, s := range sections(c) {
			flags := slices.DeleteFunc(s.flags, func(f *pflag.Flag) bool {
				of := train.Flags().Lookup(f.Name)
				as := c != train && c.Flags().Lookup("lr") != nil && of != nil && described(of) == described(f)
				if f.Name == "help" || s.title == "Every command" || as {
					if as && s.title != "Every command" {
						same = append(same, "`--"+f.Name+"`")
					}
					return true
				}
				return false
			})
			if len(flags) == 0 {
				continue
			}
			fmt.Fprintf(&b, "\n%s:\n\n", s.title)
			for _, f := range flags {
				fmt.Fprintf(&b, "- `%s`: %s\n", written(c.Name(), f), described(f))
			}
		}
		if len(same) > 0 {
			fmt.Fprintf(&b, "\nAs for train:\n%s.\n", strings.Join(ui.Wrap(strings.Join(same, ", "), 120), "\n"))
		}
	}
	return b.String()
}

// Every command teaches with two examples, and suggests the right option for a mistyped one.
func TestHelp(t *testing.T) {
	for _, c := range own(newRoot()) {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), []string{c.Name(), "--help"}, &out, &errOut); code != 0 {
			t.Errorf("%s --help: exit code %d", c.Name(), code)
		}
		if n := strings.Count(c.Example, "# "); n < 2 || strings.Count(c.Example, "longlora "+c.Name()) < n || !strings.Contains(out.String(), strings.Split(c.Example, "\n")[0]) {
			t.Errorf("%s: %d examples", c.Name(), n)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(out.String(), "  "+written(c.Name(), f)+" ") {
				t.Errorf("%s --help lacks --%s", c.Name(), f.Name)
			}
			errOut.Reset()
			typed := "--" + f.Name + "x"
			if code := run(t.Context(), []string{c.Name(), typed}, &out, &errOut); code != 2 || !strings.Contains(errOut.String(), "did you mean --"+f.Name+"?") {
				t.Errorf("%s %s: exit code %d: %s", c.Name(), typed, code, &errOut)
			}
		})
	}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"train", "-ctx", "5"}, &out, &errOut); code != 2 || !strings.Contains(errOut.String(), "did you mean --ctx?") {
		t.Errorf("train -ctx: exit code %d: %s", code, &errOut)
	}
}

// The names that options know are those that the program has.
func TestNames(t *testing.T) {
	if got := slices.Sorted(slices.Values(cli.Shapes)); !slices.Equal(got, slices.Sorted(slices.Values(model.ShapeNames()))) {
		t.Errorf("shapes %v, the models have %v", got, model.ShapeNames())
	}
	for _, c := range cli.Chips {
		if _, ok := machine.Named(c); !ok && c != "auto" && c != "cpu" {
			t.Errorf("--chip %s is no chip", c)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HF_HUB_CACHE", filepath.Join(t.TempDir(), "hub"))
	for _, d := range []string{"metal", ".git", filepath.Join(os.Getenv("HF_HUB_CACHE"), "models--meta-llama--Llama-2-7b-hf")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ line, want, directive string }{
		{"train --shift ", "split roll", ":36"},
		{"train --shift r", "roll", ":36"},
		{"merge --dtype ", "auto fp32 bf16 fp16", ":36"},
		{"eval --dtype ", "auto fp32 bf16", ":36"},
		{"plan --shape llama2-7", "llama2-7b llama2-70b", ":36"},
		{"plan --chip h", "h200 h100", ":36"}, {"plan --chip l4,h", "l4,h200 l4,h100", ":36"},
		{"eval --task ppl,p", "ppl,passkey", ":36"},
		{"train --train-embed=", "true false", ":36"},
		{"train --model met", "meta-llama/Llama-2-7b-hf metal/", ":6"},
		{"train --model x", "", ":16"},        // folders
		{"train --adapter ", "", ":16"},       // folders
		{"train --data ", "", ":0"},           // files
		{"train --config ", "yaml yml", ":8"}, // files of these kinds
		{"train --rank ", "", ":4"},           // nothing
		{"train ", "", ":4"},
		{"report ", "", ":16"},
	} {
		var out, errOut bytes.Buffer
		args := strings.Split("__complete "+c.line, " ")
		if code := run(t.Context(), args, &out, &errOut); code != 0 {
			t.Errorf("%s: exit code %d: %s", c.line, code, &errOut)
		}
		lines := strings.Fields(out.String())
		if got := strings.Join(lines[:len(lines)-1], " "); got != c.want || lines[len(lines)-1] != c.directive {
			t.Errorf("%q: %v, want %s %s", c.line, lines, c.want, c.directive)
		}
	}
}

// There is a script for a shell that is known, and a usage error for any other word.
func TestCompletionShells(t *testing.T) {
	for line, want := range map[string]int{"completion bash": 0, "completion": 0, "completion tcsh": 2, "completion bash more": 2} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), &out, &errOut); code != want || (out.Len() > 0) != (want == 0) {
			t.Errorf("%s: exit code %d, %d bytes; want exit code %d: %s", line, code, out.Len(), want, &errOut)
		}
	}
}

// Manual pages are there for every command and hold its options; man itself checks their macros where it is installed.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	files, err := writeMan(newRoot(), dir)
	if err != nil || len(files) != 1+len(own(newRoot())) {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b := testkit.Read(t, f)
		for i, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, ".") && !slices.Contains([]string{"TH", "SH", "SS", "TP", "B", "BR", "nf", "fi"}, strings.Fields(l[1:])[0]) {
				t.Errorf("%s:%d: %s", filepath.Base(f), i+1, l)
			}
		}
		if strings.HasSuffix(f, "longlora-train.1") && !strings.Contains(string(b), `\-\-shift split|roll`) {
			t.Errorf("%s has no --shift", f)
		}
	}
	if _, err := writeMan(newRoot(), dir); err != nil { // over its own
		t.Error(err)
	}
	testkit.Write(t, files[0], "precious")
	if _, err := writeMan(newRoot(), dir); errs.Code(err) != 2 || string(testkit.Read(t, files[0])) != "precious" {
		t.Errorf("over another's: %v", err)
	}
}

// What is thrown where nothing could be returned keeps its kind; all else is a fault of the program.
func TestSayPanic(t *testing.T) {
	for _, c := range []struct {
		value any
		code  int
		want  string
	}{{errs.NoFitf("no memory"), 3, "longlora: no memory\n"}, {errors.New("odd"), 1, "internal error: odd"},
		{fmt.Errorf("weights: %w", syscall.ENOMEM), 3, "longlora: weights: cannot allocate memory; raise the limit"},
		{errs.Dataf("a file: %w", syscall.ENOMEM), 3, "longlora: a file: cannot allocate memory; raise the limit"},
		{"odd", 1, "internal error: odd"}} {
		var b strings.Builder
		if code := sayPanic(&b, &par.Panic{Value: c.value}); code != c.code || !strings.Contains(b.String(), c.want) {
			t.Errorf("%v: exit %d, %s", c.value, code, b.String())
		}
	}
}
