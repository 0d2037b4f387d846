// Package record is what the readers of all file formats give, whatever the file: a record's fields as JSON has them,
// and the rows of tables.
//
// A value is nil, a bool, a number (json.Number, float64, float32 or a whole number), a string, []any, or an object:
// *Object where the order of its fields is known, else map[string]any.
package record

import (
	"errors"
	"io"
)

// ErrLong is the fault of a record that is longer than what may be held at a time. Its reader still stands at its
// beginning, so that it can be gone through piece by piece, or passed over.
var ErrLong = errors.New("longer than what is held at a time")

// ErrStopped is what a function that gets a record piece by piece returns to end reading: nobody waits for the rest.
var ErrStopped = errors.New("reading was stopped")

// Object is a JSON object whose fields keep their order: tools and calls are written out again, field by field as they
// stand in the data.
type Object struct {
	Keys []string       // its fields' names, each once, in their order
	Of   map[string]any // their values
}

// Fields are an object's fields by name, however it was read; false where v is no object.
func Fields(v any) (map[string]any, bool) {
	if o, ok := v.(*Object); ok {
		return o.Of, true
	}
	m, ok := v.(map[string]any)
	return m, ok
}

// TypeName is a value's type in words, for messages: a string, a list, an object, a truth value, a number, or null.
func TypeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string, []byte:
		return "a string"
	case []any:
		return "a list"
	case map[string]any, *Object:
		return "an object"
	case bool:
		return "a truth value"
	}
	return "a number"
}

// SizeOf is about the memory that a value takes, in bytes: that of its texts, and a little for each value.
func SizeOf(v any) int {
	n := 16
	switch x := v.(type) {
	case string:
		n += len(x)
	case []any:
		for _, e := range x {
			n += SizeOf(e)
		}
	case map[string]any:
		for _, e := range x {
			n += SizeOf(e)
		}
	case *Object:
		return SizeOf(x.Of)
	}
	return n
}

// CutOff is the error for a file that ends inside a value: io.ErrUnexpectedEOF for io.EOF, any other as it is.
func CutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
