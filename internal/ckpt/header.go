package ckpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strconv"

	"longlora/internal/tensor"
)

// What a header may hold: more than that of any checkpoint, and little enough that no header costs much more time and
// memory than its own length.
const maxTensors, maxMetadata, maxFields = 1 << 18, 1 << 16, 64

// object walks the JSON object that dec stands before, refusing a key that stands twice and more keys than most.
func object(dec *json.Decoder, most int, field func(key string) error) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return fmt.Errorf("%.100v where an object is wanted", t)
	}
	seen := map[string]bool{}
	for dec.More() {
		if len(seen) == most {
			return fmt.Errorf("more than %d keys", most)
		}
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok || seen[key] {
			return fmt.Errorf("%.200q stands twice", key)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// decodeHeader reads the JSON object of a header: tensors' entries and the metadata, which must be texts.
func decodeHeader(head []byte) (map[string]entry, map[string]string, error) {
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.UseNumber()
	entries, meta := map[string]entry{}, map[string]string{}
	err := object(dec, maxTensors, func(name string) (err error) {
		if name == "__metadata__" {
			err = object(dec, maxMetadata, func(k string) (err error) {
				meta[k], err = text(dec)
				return err
			})
		} else if entries[name], err = decodeEntry(dec); err == nil && !plainName(name) {
			err = fmt.Errorf("a tensor's name is plain text of at most %d bytes", maxName)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) != 0 {
		return nil, nil, fmt.Errorf("header: %d bytes after its object", len(rest))
	}
	return entries, meta, nil
}

// decodeEntry reads {"dtype":…,"shape":[…],"data_offsets":[…]}; other fields are passed over, as the reference does.
func decodeEntry(dec *json.Decoder) (e entry, err error) {
	have := map[string]bool{}
	err = object(dec, maxFields, func(key string) (err error) {
		have[key] = true
		switch key {
		case "dtype":
			e.dtype, err = text(dec)
		case "shape":
			e.shape, err = counts(dec)
		case "data_offsets":
			var o []int64
			if o, err = counts(dec); err == nil && len(o) != 2 {
				err = fmt.Errorf("%d numbers where 2 are wanted", len(o))
			} else if err == nil {
				e.offsets = [2]int64(o)
			}
		default:
			var any json.RawMessage
			err = dec.Decode(&any)
		}
		if err != nil {
			return fmt.Errorf("%.100s: %w", key, err)
		}
		return nil
	})
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if err == nil && !have[key] {
			err = fmt.Errorf("%s is missing", key)
		}
	}
	return e, err
}

func text(dec *json.Decoder) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%.100v where a text is wanted", t)
	}
	return s, nil
}

// counts reads a list of whole numbers from 0 on, one an axis.
func counts(dec *json.Decoder) ([]int64, error) {
	if t, err := dec.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('[') {
		return nil, fmt.Errorf("%.100v where a list is wanted", t)
	}
	out := []int64{}
	for dec.More() {
		if len(out) == maxAxes {
			return nil, fmt.Errorf("more than %d numbers", maxAxes)
		}
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%.100v where a number is wanted", t)
		}
		x, err := strconv.ParseUint(n.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%.100v is not a whole number from 0 to 2^63-1", n)
		}
		out = append(out, int64(x))
	}
	_, err := dec.Token()
	return out, err
}

// cutTensors checks that the tensors cover the data exactly, each with the bytes its shape needs.
func cutTensors(entries map[string]entry, data []byte) (map[string]Tensor, error) {
	names := make([]string, 0, len(entries))
	for n := range entries {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := entries[names[i]].offsets, entries[names[j]].offsets
		if a != b {
			return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
		}
		return names[i] < names[j]
	})
	out, end := map[string]Tensor{}, int64(0)
	for _, n := range names {
		e := entries[n]
		t := Tensor{Name: n, Shape: make(tensor.Shape, len(e.shape))}
		for i, d := range e.shape {
			t.Shape[i] = int(d)
		}
		if e.offsets[0] != end || e.offsets[1] < end {
			return nil, fmt.Errorf("tensor %.200q: data_offsets %v where %d is the beginning: an overlap or a hole", n,
				e.offsets, end)
		}
		end = e.offsets[1]
		d, known := tensor.ParseDType(e.dtype)
		bits, alien := foreign[e.dtype]
		if !known && !alien {
			return nil, fmt.Errorf("tensor %.200q: unknown dtype %.100q", n, e.dtype)
		}
		if alien {
			t.foreign = e.dtype
		} else {
			t.DType, bits = d, int64(8*d.Size())
		}
		if want, ok := sizeOf(t.Shape, bits); !ok || want != end-e.offsets[0] {
			return nil, fmt.Errorf("tensor %.200q: shape %v of %s does not fill data_offsets %v", n, e.shape, e.dtype, e.offsets)
		}
		if end > int64(len(data)) {
			return nil, fmt.Errorf("tensor %.200q ends at %d of %d data bytes: the file is truncated", n, end, len(data))
		}
		t.data = data[e.offsets[0]:end:end]
		out[n] = t
	}
	if end != int64(len(data)) {
		return nil, fmt.Errorf("%d bytes after the last tensor", int64(len(data))-end)
	}
	return out, nil
}

// sizeOf is the number of bytes of a tensor; ok is false on an overflow, or when its bits are no whole bytes.
func sizeOf(s tensor.Shape, bits int64) (n int64, ok bool) {
	n, ok = s.Bytes(tensor.U64) // eight bytes an element: what is computed from it cannot overflow
	if bits%8 == 0 {
		return n / 8 * (bits / 8), ok
	}
	n = n / 8 * bits
	return n / 8, ok && n%8 == 0
}
