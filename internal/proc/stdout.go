package proc

import (
	"io"
	"os"
	"syscall"

	"longlora/internal/files"
)

// Output is a standard output whose first fault is kept: a result that did not arrive is an error at the command's end,
// whoever wrote it.
type Output struct {
	w   io.Writer
	err error
}

// NewOutput writes to w.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

// Stdout is the process's standard output. Go puts /dev/null in the place of one that was closed when the process
// began, which would take any result without a word.
func Stdout() io.Writer {
	if stdoutClosed() {
		return closedStdout{}
	}
	return os.Stdout
}

type closedStdout struct{}

func (closedStdout) Write([]byte) (int, error) { return 0, syscall.EBADF }

// Write fails with an error of kind Data.
func (o *Output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = files.Fault("standard output", err)
	}
	return n, o.err
}

// Unwrap is what stands behind.
func (o *Output) Unwrap() io.Writer { return o.w }

// Fault is the error of the first write that failed, nil where none did.
func (o *Output) Fault() error { return o.err }
