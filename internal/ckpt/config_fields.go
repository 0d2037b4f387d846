package ckpt

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"longlora/internal/errs"
)

// fields reads typed values out of a JSON object, keeping the first fault.
type fields struct {
	path string
	raw  map[string]any
	err  error
}

func (f *fields) fail(name, format string, a ...any) {
	if f.err == nil {
		f.err = errs.Dataf("%s: %s: %s", f.path, name, line(fmt.Sprintf(format, a...)))
	}
}

// line is a text on one line of a length that can be read, whatever values of a file it quotes.
func line(s string) string {
	const most = 400
	if s = strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(s); len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// num is a number, or def where the field is missing or null; a NaN def makes the field required.
func (f *fields) num(name string, def float64) float64 {
	v, ok := f.raw[name]
	if !ok || v == nil {
		if math.IsNaN(def) {
			f.fail(name, "missing")
		}
		return def
	}
	n, ok := v.(json.Number)
	if !ok {
		f.fail(name, "%s is not a number", errs.Shown(v))
		return def
	}
	x, err := n.Float64()
	if err != nil {
		f.fail(name, "%s is out of range", errs.Shown(v))
	}
	return x
}

// size is a count of at most 2^24, so that products of two sizes stay countable.
func (f *fields) size(name string, def int) int {
	n := f.count(name, def)
	if n > 1<<24 {
		f.fail(name, "%d is more than any model has", n)
		return 1
	}
	return n
}

// count is a whole number from 1 on, 1 after a fault; def < 0 makes the field required.
func (f *fields) count(name string, def int) int {
	d := float64(def)
	if def < 0 {
		d = math.NaN()
	}
	x := f.num(name, d)
	if !(x == math.Trunc(x) && x >= 1 && x <= 1<<31) {
		f.fail(name, "%v is not a whole number from 1 to 2^31", x) // unless it was missing, which is said already
		return 1
	}
	return int(x)
}

// flag is a boolean, false where missing.
func (f *fields) flag(name string) bool {
	v, ok := f.raw[name]
	if !ok || v == nil {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		f.fail(name, "%s is neither true nor false", errs.Shown(v))
	}
	return b
}

// ids are token ids, given as one number or as a list.
func (f *fields) ids(name string) []int {
	if v := f.raw[name]; v != nil {
		return f.wholes(name, v)
	}
	return nil
}

// wholes are the whole numbers of a list, or the one that stands for a list of one.
func (f *fields) wholes(name string, v any) []int {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int
	for _, v := range list {
		n, ok := v.(json.Number)
		x, err := n.Int64()
		if !ok || err != nil {
			f.fail(name, "%s is not a whole number", errs.Shown(v))
			return nil
		}
		out = append(out, int(x))
	}
	return out
}
