package config

import (
	"errors"

	"github.com/spf13/pflag"

	"longlora/internal/s2attn"
)

// Window is the option of what is made of a model's sliding windows.
type Window struct {
	SlidingWindow s2attn.Choice
}

const windowFlag = "sliding-window"

// WindowFlags defines it.
func (w *Window) WindowFlags(f *pflag.FlagSet) {
	f.Var((*choice)(&w.SlidingWindow), windowFlag,
		"what becomes of the model's sliding windows: keep, off (full layers, on which S²-Attn then acts), or their length in tokens; what lies beside an adapter holds unless this is given")
	usual(f, windowFlag, "keep", "off")
}

// AskedWindow is the option's value, nil where nothing gives it.
func (w *Window) AskedWindow(v *Values) *s2attn.Choice {
	if !v.Explicit(windowFlag) {
		return nil
	}
	return &w.SlidingWindow
}

// choice is the option's value as flags have it.
type choice s2attn.Choice

func (c *choice) String() string { return s2attn.Choice(*c).String() }

func (c *choice) Type() string { return "window" }

func (c *choice) Set(s string) error {
	switch s {
	case "keep":
		*c = choice(s2attn.Keep)
		return nil
	case "off":
		*c = choice(s2attn.Off)
		return nil
	}
	n, err := parseTokens(s)
	if err != nil || n < 1 || n > s2attn.MostWindow {
		return errors.New("not keep, off or a count of tokens from 1 to 2^31, such as 4096 or 4k")
	}
	*c = choice(n)
	return nil
}
