// Package errs gives every user-visible error one of a few kinds; the kind is the process's exit code.
package errs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Kind is the class of an error and, as a number, the exit code of the process.
type Kind int

const (
	// Internal is a fault of the program itself.
	Internal Kind = 1
	// Usage is a fault in flags, environment or YAML.
	Usage Kind = 2
	// NoFit says that the work does not fit the memory there is.
	NoFit Kind = 3
	// Data is a fault in anything read from or written to model, adapter, data or output.
	Data Kind = 4
	// Numeric is a NaN or Inf that was met, or a divergence.
	Numeric Kind = 5
	// Interrupted says that a signal ended the run after a checkpoint was written.
	Interrupted Kind = 130
)

// Error is an error with a kind. Its text says what is wrong, where, and how to mend it.
type Error struct {
	Kind Kind
	err  error
}

func (e *Error) Error() string { return Plain(e.err) }

// Unwrap returns the cause, so that errors.Is and errors.As see through the kind.
func (e *Error) Unwrap() error { return e.err }

// Usagef, Dataf, NoFitf, Numericf and Interruptedf are fmt.Errorf with a kind.
func Usagef(format string, a ...any) error { return newf(Usage, format, a...) }

// Dataf reports a fault in a file that is read or written.
func Dataf(format string, a ...any) error { return newf(Data, format, a...) }

// NoFitf reports work that is too large for the memory there is.
func NoFitf(format string, a ...any) error { return newf(NoFit, format, a...) }

// Numericf reports a NaN, an Inf or a divergence.
func Numericf(format string, a ...any) error { return newf(Numeric, format, a...) }

// Interruptedf reports a run that a signal ended.
func Interruptedf(format string, a ...any) error { return newf(Interrupted, format, a...) }

// Kindf is fmt.Errorf with a kind that is known only then.
func Kindf(k Kind, format string, a ...any) error { return newf(k, format, a...) }

func newf(k Kind, format string, a ...any) error {
	return &Error{Kind: k, err: fmt.Errorf(format, a...)}
}

// Plain is an error's text without the names of system calls and of Go's functions, which say nothing to who reads it:
// "stat x: no such file or directory" is "x: no such file or directory". A path that the text names already is not
// repeated.
func Plain(err error) string {
	text := err.Error()
	var path *fs.PathError
	if errors.As(err, &path) {
		text = without(text, path.Error(), path.Path, path.Err)
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		text = without(text, link.Error(), link.New, link.Err)
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		text = strings.Replace(text, call.Error(), call.Err.Error(), 1)
	}
	var number *strconv.NumError
	if errors.As(err, &number) {
		text = strings.Replace(text, number.Error(), fmt.Sprintf("%q: not a number that fits", number.Num), 1)
	}
	return text
}

// without puts path and cause in the place of a system error's own text.
func without(text, own, path string, cause error) string {
	before, after, ok := strings.Cut(text, own)
	if !ok {
		return text
	}
	if strings.Contains(before, path) {
		return before + cause.Error() + after
	}
	return before + path + ": " + cause.Error() + after
}

// Code is the exit code for err: 0 for nil, the kind's number, or 1 for an error without a kind.
func Code(err error) int {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return int(e.Kind)
	}
	return int(Internal)
}

// Shown is a value of a JSON document as it stands there, on one line and no longer than a line.
func Shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "what it holds"
	}
	if len(b) > 80 {
		return strings.ToValidUTF8(string(b[:80]), "") + "…"
	}
	return string(b)
}
