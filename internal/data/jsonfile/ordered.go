package jsonfile

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"longlora/internal/data/record"
	"longlora/internal/tokenizer"
)

// DecodeInOrder reads one JSON object, which Decode has read before, with all its fields, the objects in it as
// *record.Object, and numbers as json.Number.
func DecodeInOrder(b []byte) (map[string]any, error) {
	v, err := readInOrder(b)
	if err != nil {
		return nil, err
	}
	m, _ := record.Fields(v)
	return m, nil
}

// Value reads any one JSON value, objects as *record.Object and numbers as json.Number. What is no JSON is an error,
// and so is a field that stands twice.
func Value(b []byte) (any, error) {
	v, err := readInOrder(b)
	if err == nil {
		err = noneTwice(b)
	}
	return v, err
}

func readInOrder(b []byte) (any, error) {
	if !utf8.Valid(b) {
		b = []byte(tokenizer.ReplaceInvalid(string(b)))
	}
	if !json.Valid(b) { // it bounds the depth, too
		mended := withoutNaN(b)
		if mended == nil || !json.Valid(mended) {
			return nil, notJSON("%w", json.Unmarshal(b, &struct{}{}))
		}
		b = mended
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return orderedValue(d)
}

func orderedValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := orderedValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		o := &record.Object{Of: map[string]any{}}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			k, _ := key.(string) // a key is nothing else
			v, err := orderedValue(d)
			if err != nil {
				return nil, err
			}
			if _, again := o.Of[k]; !again {
				o.Keys = append(o.Keys, k)
			}
			o.Of[k] = v
		}
		_, err = d.Token()
		return o, err
	}
	return t, nil
}
