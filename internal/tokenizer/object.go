package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"longlora/internal/errs"
)

// member is a field of a JSON object and the file it stands in.
type member struct {
	name  string
	value json.RawMessage
	file  string
}

// fault is a data error about a field.
func (m member) fault(format string, a ...any) error {
	return errs.Dataf("%s: %s: "+format, slices.Concat([]any{m.file, m.name}, a)...)
}

// object is a JSON object whose fields keep their order, which ids of added tokens depend on.
type object []member

// parseObject reads a file's content. Of two fields with one name the last counts.
func parseObject(file string, blob []byte) (o object, err error) {
	defer func() {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}()
	d := json.NewDecoder(bytes.NewReader(blob))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, cmp.Or(err, errors.New("not a JSON object"))
	}
	at := map[string]int{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: t.(string), file: file}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		if i, ok := at[m.name]; ok {
			o[i] = m
			continue
		}
		at[m.name] = len(o)
		o = append(o, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something stands behind the JSON object")
	}
	return o, nil
}

// get is a field's value, nil where it is absent or null.
func (o object) get(name string) json.RawMessage {
	for _, m := range o {
		if m.name == name && !null(m.value) {
			return m.value
		}
	}
	return nil
}

// has says whether a field is there, be it null.
func (o object) has(name string) bool {
	for _, m := range o {
		if m.name == name {
			return true
		}
	}
	return false
}

// with gives fields new values where they stand, or appends them.
func (o object) with(more object) object {
	at := make(map[string]int, len(o)+len(more))
	for i := len(o) - 1; i >= 0; i-- {
		at[o[i].name] = i
	}
	for _, m := range more {
		if i, ok := at[m.name]; ok {
			o[i] = m
			continue
		}
		at[m.name] = len(o)
		o = append(o, m)
	}
	return o
}

// without leaves out the fields that drop names.
func (o object) without(drop func(m member) bool) object {
	var out object
	for _, m := range o {
		if !drop(m) {
			out = append(out, m)
		}
	}
	return out
}
