package jinja

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

// process is what the program is called as where it does nothing but run a chat template. A template comes out of
// a model's folder, and can ask for any memory, depth or time, which the library does not refuse and Go cannot take
// back: so it runs in a process of its own, which can be ended.
const process = "longlora-template"

// Bounds of a template's process.
const (
	maxTime   = 5 * time.Second // to write two messages
	maxMemory = 512 << 20       // bytes beside what the program itself has mapped
	maxStack  = 64 << 20        // bytes
	maxWrites = 16 << 20        // bytes
)

// Work is a template and what it is run with.
type Work struct {
	Chat     string    // the template
	Messages []any     // maps of role and content
	Date     time.Time // what it takes for now
	BOS, EOS string    // the texts of the tokens that begin and end a document
}

// result is what it writes, or why it does not.
type result struct {
	Text, Fault string
	Raised      bool // it refuses what it is given
}

func init() {
	if len(os.Args) == 1 && os.Args[0] == process {
		serve(os.Stdin, os.Stdout)
		os.Exit(0)
	}
}

// serve runs one template within the bounds. Where they do not suffice the process ends by Go's own fatal error.
func serve(in io.Reader, out io.Writer) {
	time.AfterFunc(maxTime, func() { os.Exit(1) }) // should nobody be there any more to end it
	debug.SetMaxStack(maxStack)
	var size, page uint64 = 4 << 30, uint64(os.Getpagesize())
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err = fmt.Sscan(string(text), &size); err == nil {
			size *= page
		}
	}
	limit := syscall.Rlimit{Cur: size + maxMemory, Max: size + maxMemory}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		os.Exit(1)
	}
	var w Work
	if err := json.NewDecoder(in).Decode(&w); err != nil {
		os.Exit(1)
	}
	var r result
	text, err := render(w)
	switch {
	case errors.Is(err, ErrRaised):
		r.Raised = true
	case err != nil:
		r.Fault = lastWords(err)
	case len(text) > maxWrites:
		r.Fault = fmt.Sprintf("it writes more than %d MiB", maxWrites>>20)
	default:
		r.Text = text
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		os.Exit(1)
	}
}

// Run is what a chat template writes, run as transformers does, without tools. It has five seconds, half a GiB of
// memory beside the program's own and 16 MiB to write; an error says which did not suffice, or what is wrong with the
// template.
func Run(w Work) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("starting a process for the model's own chat template: %w", err)
	}
	in, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	c := exec.CommandContext(ctx, program)
	c.Args, c.Stdin = []string{process}, bytes.NewReader(in)
	out, err := c.Output()
	var ended *exec.ExitError
	var r result
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("the model's own chat template runs for more than %s", maxTime)
	case errors.As(err, &ended):
		return "", fmt.Errorf("the model's own chat template takes more than %d MiB, or calls itself without end",
			maxMemory>>20)
	case err != nil:
		return "", fmt.Errorf("starting a process for the model's own chat template: %w", err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return "", fmt.Errorf("the process of the model's own chat template: %w", err)
	}
	switch {
	case r.Raised:
		return "", fmt.Errorf("the model's own chat template: %w", ErrRaised)
	case r.Fault != "":
		return "", fmt.Errorf("the model's own chat template: %s", r.Fault)
	}
	return r.Text, nil
}
