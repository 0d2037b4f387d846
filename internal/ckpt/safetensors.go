// Package ckpt reads and writes what lies on disk: safetensors files, PyTorch pickles, Hugging Face
// checkpoints, PEFT adapters. Weights are mapped, never copied. Every write is atomic.
package ckpt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/tensor"
)

// maxHeader is the longest header that the reference implementation accepts.
const maxHeader = 100_000_000

// Tensor is a named tensor; Data is mapped file memory or memory of the reader's.
type Tensor struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
	Data  []byte
	File  string
}

// File is an open safetensors file.
type File struct {
	Path     string
	Tensors  map[string]Tensor
	Metadata map[string]string
	mapped   []byte
}

// Close unmaps the file; its tensors are dead.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	m := f.mapped
	f.mapped = nil
	return unix.Munmap(m)
}

// OpenSafetensors maps a file and checks its header as strictly as the reference implementation does.
func OpenSafetensors(path string) (*File, error) {
	m, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, mapped: m}
	if f.Tensors, f.Metadata, err = parseSafetensors(m); err != nil {
		f.Close()
		return nil, errs.Dataf("%s: not a sound safetensors file: %w; fetch or write it again", path, err)
	}
	for n, t := range f.Tensors {
		t.File = path
		f.Tensors[n] = t
	}
	return f, nil
}

// mapFile maps a whole file for reading.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	if st.IsDir() || st.Size() == 0 {
		return nil, errs.Dataf("%s: an empty file or a folder where a file of tensors is wanted", path)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errs.Dataf("%s: mapping the file: %w", path, err)
	}
	return m, nil
}

type entry struct {
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

// sizes of element types that may stand in a file but that no weight of ours has.
var foreign = map[string]int64{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "U32": 4, "C64": 8}

// parseSafetensors reads a header and cuts the data up.
func parseSafetensors(b []byte) (map[string]Tensor, map[string]string, error) {
	if len(b) < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few for a header", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > maxHeader {
		return nil, nil, fmt.Errorf("header length %d is over the limit of %d", n, maxHeader)
	}
	if n > uint64(len(b)-8) {
		return nil, nil, fmt.Errorf("header length %d passes the file's end at %d", n, len(b))
	}
	head, data := b[8:8+n], b[8+n:]
	if len(head) == 0 || head[0] != '{' {
		return nil, nil, fmt.Errorf("the header does not begin with {")
	}
	if !utf8.Valid(head) {
		return nil, nil, fmt.Errorf("the header is not UTF-8")
	}
	entries, meta, err := decodeHeader(head)
	if err != nil {
		return nil, nil, err
	}
	return cutTensors(entries, meta, data)
}

// decodeHeader reads the JSON object, refusing a name that stands twice.
func decodeHeader(head []byte) (map[string]entry, map[string]string, error) {
	dec := json.NewDecoder(bytes.NewReader(head))
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	entries, meta, seen := map[string]entry{}, map[string]string(nil), map[string]bool{}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("header: %w", err)
		}
		name, ok := k.(string)
		if !ok || seen[name] {
			return nil, nil, fmt.Errorf("the name %q stands twice in the header", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := dec.Decode(&meta); err != nil {
				return nil, nil, fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		var e *entry
		if err := dec.Decode(&e); err != nil || e == nil {
			return nil, nil, fmt.Errorf("tensor %q: %v", name, err)
		}
		entries[name] = *e
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) != 0 {
		return nil, nil, fmt.Errorf("%d bytes after the header's object", len(rest))
	}
	return entries, meta, nil
}

// cutTensors checks that the tensors cover the data exactly, each with the bytes its shape needs.
func cutTensors(entries map[string]entry, meta map[string]string, data []byte) (map[string]Tensor, map[string]string, error) {
	names := make([]string, 0, len(entries))
	for n, e := range entries {
		if len(e.Offsets) != 2 || e.Shape == nil {
			return nil, nil, fmt.Errorf("tensor %q: shape or data_offsets missing", n)
		}
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := entries[names[i]], entries[names[j]]
		if a.Offsets[0] != b.Offsets[0] {
			return a.Offsets[0] < b.Offsets[0]
		}
		if a.Offsets[1] != b.Offsets[1] {
			return a.Offsets[1] < b.Offsets[1]
		}
		return names[i] < names[j]
	})
	out, end := map[string]Tensor{}, int64(0)
	for _, n := range names {
		e := entries[n]
		if e.Offsets[0] != end || e.Offsets[1] < e.Offsets[0] {
			return nil, nil, fmt.Errorf("tensor %q: data_offsets %v where %d should begin: an overlap or a hole", n, e.Offsets, end)
		}
		end = e.Offsets[1]
		shape := make(tensor.Shape, len(e.Shape))
		for i, d := range e.Shape {
			shape[i] = int(d)
		}
		d, known := tensor.ParseDType(e.DType)
		want, ok := int64(0), false
		if known {
			want, ok = shape.Bytes(d)
		} else if size, f := foreign[e.DType]; f {
			if want, ok = shape.Bytes(tensor.I64); ok {
				want = want / 8 * size
			}
		} else {
			return nil, nil, fmt.Errorf("tensor %q: unknown dtype %q", n, e.DType)
		}
		if !ok || want != e.Offsets[1]-e.Offsets[0] {
			return nil, nil, fmt.Errorf("tensor %q: shape %v of %s does not fill data_offsets %v", n, e.Shape, e.DType, e.Offsets)
		}
		if end > int64(len(data)) {
			return nil, nil, fmt.Errorf("tensor %q ends at %d of %d data bytes: the file is truncated", n, end, len(data))
		}
		if known {
			out[n] = Tensor{Name: n, DType: d, Shape: shape, Data: data[e.Offsets[0]:end:end]}
		}
	}
	if end != int64(len(data)) {
		return nil, nil, fmt.Errorf("%d bytes after the last tensor", int64(len(data))-end)
	}
	return out, meta, nil
}

// Out is a tensor to be written: its header and what writes its bytes.
type Out struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
	Write func(w io.Writer) error
}

// Bytes makes an Out of bytes in memory.
func Bytes(name string, d tensor.DType, shape tensor.Shape, data []byte) Out {
	return Out{name, d, shape, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// writeSafetensors streams tensors in the order of their names. The bytes depend on the tensors alone.
func writeSafetensors(w io.Writer, ts []Out) error {
	sort.Slice(ts, func(i, j int) bool { return ts[i].Name < ts[j].Name })
	var head bytes.Buffer
	head.WriteString(`{"__metadata__":{"format":"pt"}`)
	off := int64(0)
	for _, t := range ts {
		n, ok := t.Shape.Bytes(t.DType)
		if !ok {
			return fmt.Errorf("tensor %s: shape %v overflows", t.Name, t.Shape)
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return err
		}
		shape, err := json.Marshal([]int(t.Shape))
		if err != nil {
			return err
		}
		fmt.Fprintf(&head, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, off, off+n)
		off += n
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 { // data aligned to 8 bytes, as the reference writes it
		head.WriteByte(' ')
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(head.Len())); err != nil {
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	c := &counter{w: w}
	for _, t := range ts {
		c.n = 0
		if err := t.Write(c); err != nil {
			return err
		}
		if n, _ := t.Shape.Bytes(t.DType); n != c.n {
			return fmt.Errorf("tensor %s: %d bytes were written, its header says %d", t.Name, c.n, n)
		}
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteSafetensors writes one file atomically.
func WriteSafetensors(path string, ts []Out) error {
	return WriteAtomic(path, func(w io.Writer) error { return writeSafetensors(w, ts) })
}

// indexFile names the file that lists a sharded checkpoint's tensors.
const indexFile = "model.safetensors.index.json"

// WriteSharded writes model.safetensors, or numbered shards of at most limit bytes of data and their index, as
// transformers names them. Tensors go into shards in the order given.
func WriteSharded(dir string, ts []Out, limit int64) error {
	var shards [][]Out
	size, total := int64(0), int64(0)
	for _, t := range ts {
		n, _ := t.Shape.Bytes(t.DType)
		if len(shards) == 0 || size+n > limit {
			shards, size = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		size, total = size+n, total+n
	}
	if len(shards) == 1 {
		return WriteSafetensors(filepath.Join(dir, "model.safetensors"), shards[0])
	}
	where := map[string]string{}
	for i, s := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, t := range s {
			where[t.Name] = name
		}
		if err := WriteSafetensors(filepath.Join(dir, name), s); err != nil {
			return err
		}
	}
	return WriteJSON(filepath.Join(dir, indexFile), map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": where})
}
