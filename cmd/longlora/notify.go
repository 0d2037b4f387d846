package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"

	"longlora/internal/errs"
)

// notify runs a shell command at the end of a run, with the result as a JSON document on its input, or the error and
// the exit code. What it prints goes to standard error; that it fails is a warning and no more.
func notify(c *cobra.Command, command string, result any, err error) {
	if command == "" {
		return
	}
	if err != nil {
		result = map[string]any{"error": err.Error(), "exit_code": errs.Code(err)}
	}
	b, fault := json.Marshal(result)
	if fault == nil {
		x := exec.Command("sh", "-c", command) // not under the context: it is to be run where that was cancelled
		x.Stdin, x.Stdout, x.Stderr = bytes.NewReader(append(b, '\n')), c.ErrOrStderr(), c.ErrOrStderr()
		fault = x.Run()
	}
	if fault != nil {
		fmt.Fprintf(c.ErrOrStderr(), "warning: --notify: %v\n", fault)
	}
}
