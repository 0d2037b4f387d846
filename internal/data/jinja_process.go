package data

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"
	"time"
)

// jinjaProcess is what the program is called as where it does nothing but run a chat template. A template comes out of
// a model's folder, and can ask for any memory, depth or time, which the library does not refuse and Go cannot take
// back: so it runs in a process of its own, which can be ended.
const jinjaProcess = "longlora-template"

// Bounds of a template's process.
const (
	jinjaTime   = 5 * time.Second // to write two messages
	jinjaMemory = 512 << 20       // bytes beside what the program itself has mapped
	jinjaStack  = 64 << 20        // bytes
	jinjaWrites = 16 << 20        // bytes
)

// jinjaWork is what a template is run with.
type jinjaWork struct {
	Chat     string
	Messages []any // maps of role and content
	Date     time.Time
	BOS, EOS string
}

// jinjaResult is what it writes, or why it does not.
type jinjaResult struct {
	Text, Fault string
	Raised      bool // it refuses what it is given
}

func init() {
	if len(os.Args) == 1 && os.Args[0] == jinjaProcess {
		serveJinja(os.Stdin, os.Stdout)
		os.Exit(0)
	}
}

// serveJinja runs one template within the bounds. Where they do not suffice the process ends by Go's own fatal error.
func serveJinja(in io.Reader, out io.Writer) {
	time.AfterFunc(jinjaTime, func() { os.Exit(1) }) // should nobody be there any more to end it
	debug.SetMaxStack(jinjaStack)
	var size, page uint64 = 4 << 30, uint64(os.Getpagesize())
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err = fmt.Sscan(string(text), &size); err == nil {
			size *= page
		}
	}
	limit := syscall.Rlimit{Cur: size + jinjaMemory, Max: size + jinjaMemory}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		os.Exit(1)
	}
	var w jinjaWork
	if err := json.NewDecoder(in).Decode(&w); err != nil {
		os.Exit(1)
	}
	var r jinjaResult
	text, err := renderJinja(w)
	switch {
	case errors.Is(err, errRaised):
		r.Raised = true
	case err != nil:
		r.Fault = lastWords(err)
	case len(text) > jinjaWrites:
		r.Fault = fmt.Sprintf("it writes more than %d MiB", jinjaWrites>>20)
	default:
		r.Text = text
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		os.Exit(1)
	}
}

// runJinja runs a chat template as transformers does, without tools.
func runJinja(w jinjaWork) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("starting a process for the model's own chat template: %w", err)
	}
	in, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), jinjaTime)
	defer cancel()
	c := exec.CommandContext(ctx, program)
	c.Args, c.Stdin = []string{jinjaProcess}, bytes.NewReader(in)
	out, err := c.Output()
	var ended *exec.ExitError
	var r jinjaResult
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("the model's own chat template runs for more than %s", jinjaTime)
	case errors.As(err, &ended):
		return "", fmt.Errorf("the model's own chat template takes more than %d MiB, or calls itself without end",
			jinjaMemory>>20)
	case err != nil:
		return "", fmt.Errorf("starting a process for the model's own chat template: %w", err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return "", fmt.Errorf("the process of the model's own chat template: %w", err)
	}
	switch {
	case r.Raised:
		return "", fmt.Errorf("the model's own chat template: %w", errRaised)
	case r.Fault != "":
		return "", fmt.Errorf("the model's own chat template: %s", r.Fault)
	}
	return r.Text, nil
}
