package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"longlora/internal/cli"
	"longlora/internal/data"
	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/files"
	"longlora/internal/lora"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// A shown command is one line of a document that runs the program, make or a script.
type shown struct {
	where string
	line  string   // without a prompt, its continuations joined
	want  []string // the output that the document shows
	runs  bool     // it stands in a console block: it is run, and prints what is shown
	part  bool     // a part of a command line: required options may be missing
}

var inline = regexp.MustCompile("`(longlora [^`]+)`")

// commandsIn are the commands that a document shows: in fenced blocks, in indented ones, and between backquotes.
func commandsIn(name, text string) (out []shown) {
	lines := strings.Split(text, "\n")
	fence, console := "", false
	for i := 0; i < len(lines); i++ {
		line, where := lines[i], fmt.Sprintf("%s:%d", name, i+1)
		if mark, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			if fence == "" {
				fence, console = "```"+mark, mark == "console"
			} else {
				fence, console = "", false
			}
			continue
		}
		if fence == "" && !strings.HasPrefix(line, "    ") {
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				out = append(out, shown{where: where, line: m[1], part: true})
			}
			continue
		}
		command, prompt := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !prompt && console {
			if n := len(out); n > 0 && out[n-1].runs { // output of the command before
				out[n-1].want = append(out[n-1].want, line)
			}
			continue
		}
		for strings.HasSuffix(command, `\`) && i+1 < len(lines) {
			i++
			command = strings.TrimSuffix(command, `\`) + strings.TrimSpace(lines[i])
		}
		out = append(out, shown{where: where, line: command, runs: console && prompt})
	}
	return out
}

// words splits a shell line up to the first operator or comment, with the home folder in the place of ~.
func words(line string) (out []string) {
	word, quote, open := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '"' || r == '\'':
			quote, open = r, true
		case r == ' ':
			if word == "&&" || word == "|" || word == ";" || strings.HasPrefix(word, ">") || strings.HasPrefix(word, "<") || strings.HasPrefix(word, "#") {
				return out
			}
			if in, ok := strings.CutPrefix(word, "~/"); ok && !open {
				word = "/home/me/" + in
			}
			if word != "" || open {
				out = append(out, word)
			}
			word, open = "", false
		default:
			word += string(r)
		}
	}
	return out
}

// documents are README, CHANGELOG and docs, with the examples of the commands' help.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range append(files, "../../README.md", "../../CHANGELOG.md") {
		b := testkit.Read(t, f)
		out[filepath.Base(f)] = string(b)
	}
	for _, c := range own(newRoot()) {
		out[c.Name()+" --help"] = "```\n" + c.Example + "\n```"
	}
	return out
}

// Every command that README, docs and help show is one that the program takes. Those in console blocks are run, on the
// bundled model, and print what the document says.
func TestShownCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("what documents show takes as long as all other commands here")
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	checked, ran, seen := 0, 0, map[string]bool{}
	for name, text := range documents(t) {
		empty, work := t.TempDir(), t.TempDir()
		for _, link := range []string{filepath.Join(empty, "configs"), filepath.Join(work, "configs"), filepath.Join(work, "testdata")} {
			if err := os.Symlink(filepath.Join(repo, filepath.Base(link)), link); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range commandsIn(name, text) {
			w := words(s.line)
			switch {
			case len(w) == 0:
			case filepath.Base(w[0]) == "longlora" || filepath.Base(w[0]) == "longlora-cuda":
				checked++
				var err error
				if s.runs {
					ran++
					t.Chdir(work)
					err = checkOutput(t.Context(), s, w[1:])
				} else if !seen[s.line] {
					seen[s.line] = true
					t.Chdir(empty)
					err = checkOptions(t.Context(), s, w[1:])
				}
				if err != nil {
					t.Errorf("%s: %s: %v", s.where, s.line, err)
				}
			case w[0] == "make":
				checkMake(t, s, filepath.Join(repo, "Makefile"), w[1:])
			default:
				for _, x := range w[:min(3, len(w))] { // scripts, alone or behind an interpreter
					if x = strings.TrimPrefix(x, "./"); strings.HasPrefix(x, "scripts/") {
						if _, err := os.Stat(filepath.Join(repo, x)); err != nil {
							t.Errorf("%s: %v", s.where, err)
						}
					}
				}
			}
		}
	}
	if checked < 60 || ran < 6 {
		t.Errorf("%d commands found, %d of them to run: the documents are not read as they are written", checked, ran)
	}
}

// checkOptions runs a command where none of its files are and no work is done: it must not stop for its options.
func checkOptions(ctx context.Context, s shown, args []string) error {
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "COMMAND", "train")
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "…" || a == "[…]" })
	for i, a := range args { // names of shapes are checked; a large one takes seconds to plan and a minute to make
		switch {
		case a == "--shape" && slices.Contains(cli.Shapes, args[i+1]):
			args[i+1] = "tiny"
		case a == "--stream-layers" && slices.Contains(args, "--shape"): // of which tiny has fewer
			args[i+1] = "auto"
		}
	}
	if len(args) > 0 && (args[0] == "bench" || slices.Contains(args, "--max-ctx")) { // no work, and no long search
		args = append(args, "--host-mem", "64MiB", "--device-mem", "64MiB")
	}
	ctx, stop := context.WithCancel(ctx)
	stop()
	var out, errOut bytes.Buffer
	code := run(ctx, args, &out, &errOut)
	missing := (s.part || strings.Contains(s.line, "…")) && strings.HasPrefix(errOut.String(), "longlora: missing: ")
	notHere := strings.Contains(errOut.String(), "longlora: --device cuda") ||
		strings.Contains(errOut.String(), "there is no GPU here") || strings.HasSuffix(errOut.String(), ": no such file or directory\n")
	if code == 2 && !missing && !notHere || code == 1 || code == 5 {
		return fmt.Errorf("exit code %d: %s", code, &errOut)
	}
	return nil
}

// decimal is a number with a point: its last digits depend on the processor.
var decimal = regexp.MustCompile(`\d+\.\d+`)

// checkOutput runs a command and compares what it prints with what the document shows: … stands for anything, and
// numbers with a point may differ by 2 %.
func checkOutput(ctx context.Context, s shown, args []string) error {
	var all bytes.Buffer
	code := run(ctx, args, &all, &all)
	want, got := plainText(strings.Join(s.want, "\n")), plainText(all.String())
	if fails := strings.Contains("\n"+want, "\nlonglora: "); fails != (code != 0) {
		return fmt.Errorf("exit code %d: %s", code, &all)
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(decimal.ReplaceAllString(want, "\x00")), "\x00", `(\d+\.\d+)`)
	found := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", "(?s:.*)") + "$").FindStringSubmatch(got)
	ok := found != nil
	for i, d := range decimal.FindAllString(want, -1) {
		ok = ok && near(found[i+1], d)
	}
	if !ok {
		return fmt.Errorf("it printed\n%s\nthe document shows\n%s", &all, want)
	}
	return nil
}

// plainText is a text whose columns may be of any width.
func plainText(s string) string {
	return strings.TrimSpace(regexp.MustCompile(" +").ReplaceAllString(s, " "))
}

func near(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && math.Abs(x-y) <= 0.02*math.Abs(y)
}

// checkMake looks for the targets of a make line.
func checkMake(t *testing.T, s shown, makefile string, args []string) {
	t.Helper()
	b := testkit.Read(t, makefile)
	for _, a := range args {
		if !strings.Contains(a, "=") && !strings.HasPrefix(a, "-") && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(a)+`:`).Match(b) {
			t.Errorf("%s: make %s: the Makefile has no such target", s.where, a)
		}
	}
}

// The walk over documents finds what is wrong in them.
func TestShownCommandsFail(t *testing.T) {
	text := "`longlora train --cxt 5 …`\n\n    longlora eval --task pql --ctx 4 --model m\n\n```console\n$ longlora version \\\n    --json\n{…}\n$ ls\n```\n"
	got := commandsIn("x.md", text)
	if len(got) != 4 || !got[0].part || got[2].line != "longlora version --json" || !got[2].runs || !slices.Equal(got[2].want, []string{"{…}"}) {
		t.Fatalf("%+v", got)
	}
	if w := words(`longlora generate --prompt "a # b" --stop '' | tee x # comment`); !slices.Equal(w, []string{"longlora", "generate", "--prompt", "a # b", "--stop", ""}) {
		t.Errorf("%q", w)
	}
	t.Chdir(t.TempDir())
	for _, s := range got[:2] {
		if err := checkOptions(t.Context(), s, words(s.line)[1:]); err == nil {
			t.Errorf("%s: not found", s.line)
		}
	}
	if err := checkOutput(t.Context(), shown{want: []string{"something else"}}, []string{"version"}); err == nil {
		t.Error("other output: not found")
	}
}

var links = regexp.MustCompile(`\]\(([^)]+)\)|src(?:set)?="([^"]+)"`)

// Links between documents lead somewhere, to the heading too.
func TestLinks(t *testing.T) {
	docs := documents(t)
	for name, text := range docs {
		dir := "../../docs"
		if _, err := os.Stat(filepath.Join("../..", name)); err == nil {
			dir = "../.."
		}
		for _, m := range links.FindAllStringSubmatch(text, -1) {
			path, anchor, _ := strings.Cut(m[1]+m[2], "#")
			if strings.Contains(path, "://") {
				continue
			}
			to := text
			if path != "" {
				if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				to = docs[filepath.Base(path)]
			}
			if anchor != "" && !slices.Contains(anchors(to), anchor) {
				t.Errorf("%s: %s#%s: no such heading", name, path, anchor)
			}
		}
	}
}

var named = regexp.MustCompile("`((?:cmd|configs|csrc|docs|internal|scripts|testdata|\\.ci)/[\\w./-]*)`")

// Files and folders that documents name are there; NAME stands for some name, as for those of an operation.
func TestNamedFiles(t *testing.T) {
	found := 0
	for name, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			found++
			if list, err := filepath.Glob(filepath.Join("../..", strings.ReplaceAll(m[1], "NAME", "*"))); err != nil || len(list) == 0 {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("%d files are named: the documents are not read as they are written", found)
	}
}

// anchors are the names of a document's headings in links.
func anchors(text string) (out []string) {
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "#") {
			l = strings.ToLower(strings.TrimSpace(strings.TrimLeft(l, "#")))
			out = append(out, strings.ReplaceAll(regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(l, ""), " ", "-"))
		}
	}
	return out
}

// docs/formats.md and docs/eval.md name every field of what is written and printed.
func TestFormatsDoc(t *testing.T) {
	docs := documents(t)
	text := docs["formats.md"] + docs["eval.md"]
	for _, v := range []any{train.Record{}, rundir.Run{}, rundir.State{}, rundir.Metrics{}, rundir.Result{}, rundir.Model{}, files.Fingerprint{}, rundir.Positions{}, extend.Report{}, extend.Length{},
		extend.Figures{}, eval.Result{}, eval.Cell{}, eval.Position{}, eval.Said{}, eval.Generated{}, lora.Merged{}, data.Prepared{}, train.Facts{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" && !regexp.MustCompile("[`\"]"+name+"[`\"]").MatchString(text) {
				t.Errorf("%T: %s is not in docs/formats.md", v, name)
			}
		}
	}
}
