// Package ckpt reads and writes what lies on disk: safetensors files, PyTorch pickles, Hugging Face
// checkpoints, PEFT adapters. Weights are mapped, never copied. Every write is atomic.
package ckpt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"sort"
	"unicode/utf8"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/proc"
	"longlora/internal/tensor"
)

// maxHeader is the longest header that the reference implementation accepts.
const maxHeader = 100_000_000

// File is an open file of tensors, safetensors or PyTorch.
type File struct {
	Path     string
	Tensors  map[string]Tensor
	Metadata map[string]string
	Others   []string // what a PyTorch file holds beside tensors, a count of steps say
	mapped   []byte
}

// Close unmaps the file; its tensors are dead.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	m := f.mapped
	f.mapped = nil
	return proc.Unmap(m)
}

// OpenSafetensors maps a file and checks its header as strictly as the reference implementation does.
func OpenSafetensors(path string) (*File, error) {
	m, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, mapped: m}
	if f.Tensors, f.Metadata, err = parseSafetensors(m); err != nil {
		defer f.Close() // the message looks at its bytes once more
		return nil, errs.Dataf("%s: not a sound safetensors file: %w; %s", path, err, mend(path, m,
			"fetch or write it again"))
	}
	for n, t := range f.Tensors {
		t.File, t.mapped = path, true
		f.Tensors[n] = t
	}
	return f, nil
}

// mapFile maps a whole file for reading.
func mapFile(path string) ([]byte, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, files.Fault(path, err)
	}
	if st.Size() == 0 {
		return nil, errs.Dataf("%s: an empty file where a file of tensors is wanted", path)
	}
	magic := make([]byte, len(ggufMagic))
	if _, err := f.ReadAt(magic, 0); err == nil && string(magic) == ggufMagic {
		return nil, ggufError(path)
	}
	return proc.Map(f)
}

// entry is a tensor's line in the header.
type entry struct {
	dtype   string
	shape   []int64
	offsets [2]int64
}

// foreign are the bits of element types that may stand in a file but that no weight of ours has.
var foreign = map[string]int64{"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
	"F8_E5M2FNUZ": 8,
	"I16":         16, "U16": 16, "U32": 32, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}

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
	ts, err := cutTensors(entries, data)
	return ts, meta, err
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
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // a scalar has [], not null
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
	return files.WriteAtomic(path, func(w io.Writer) error { return writeSafetensors(w, ts) })
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
	return files.WriteJSON(filepath.Join(dir, indexFile), map[string]any{"metadata": map[string]any{"total_size": total},
		"weight_map": where})
}
