package testkit

import (
	"encoding/binary"
	"math"
	"testing"
)

// GGUF is what a GGUF file holds.
type GGUF struct {
	Values  map[string]any // string, bool, uint32, float32, []string, []int32, []float32
	Tensors map[string]GGUFTensor
}

// GGUFTensor is a tensor of a GGUF file: its type's number in the format, its extents, the innermost last, its bytes.
type GGUFTensor struct {
	Type  uint32
	Shape []int
	Data  []byte
}

// ggufCursor reads a file from its beginning to its end.
type ggufCursor struct {
	t    testing.TB
	path string
	b    []byte
	at   int
}

func (r *ggufCursor) bytes(n int) []byte {
	r.t.Helper()
	if n < 0 || n > len(r.b)-r.at {
		r.t.Fatalf("%s: %d bytes at %d pass its end at %d", r.path, n, r.at, len(r.b))
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *ggufCursor) u32() uint32  { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *ggufCursor) u64() int     { return int(binary.LittleEndian.Uint64(r.bytes(8))) }
func (r *ggufCursor) text() string { return string(r.bytes(r.u64())) }
func (r *ggufCursor) f32() float32 { return math.Float32frombits(r.u32()) }

// value reads one of a type.
func (r *ggufCursor) value(kind uint32) any {
	switch kind {
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return r.f32()
	case 7:
		return r.bytes(1)[0] == 1
	case 8:
		return r.text()
	case 9:
		return r.list(r.u32(), r.u64())
	}
	r.t.Fatalf("%s: a value of type %d at %d", r.path, kind, r.at)
	return nil
}

func (r *ggufCursor) list(kind uint32, n int) any {
	var texts []string
	var ints []int32
	var reals []float32
	for range n {
		switch v := r.value(kind).(type) {
		case string:
			texts = append(texts, v)
		case int32:
			ints = append(ints, v)
		case float32:
			reals = append(reals, v)
		}
	}
	return map[uint32]any{5: ints, 6: reals, 8: texts}[kind]
}

// ReadGGUF reads a GGUF file by its definition (version 3), and not by package ckpt, which is judged by it. Tensors
// must lie one after the other, each at a multiple of 32 bytes, zeros between, and the file end with the last.
func ReadGGUF(t testing.TB, path string) GGUF {
	t.Helper()
	r := &ggufCursor{t: t, path: path, b: Read(t, path)}
	if magic, version := string(r.bytes(4)), r.u32(); magic != "GGUF" || version != 3 {
		t.Fatalf("%s: magic %q, version %d", path, magic, version)
	}
	tensors, values := r.u64(), r.u64()
	g := GGUF{Values: map[string]any{}, Tensors: map[string]GGUFTensor{}}
	for range values {
		key := r.text()
		if _, twice := g.Values[key]; twice {
			t.Errorf("%s: %s is there twice", path, key)
		}
		g.Values[key] = r.value(r.u32())
	}
	type entry struct {
		name  string
		shape []int
		kind  uint32
		at    int
	}
	var entries []entry
	for range tensors {
		e := entry{name: r.text(), shape: make([]int, r.u32())}
		for i := range e.shape {
			e.shape[len(e.shape)-1-i] = r.u64()
		}
		e.kind, e.at = r.u32(), r.u64()
		entries = append(entries, e)
	}
	pad := func() {
		for r.at%32 != 0 {
			if r.bytes(1)[0] != 0 {
				t.Errorf("%s: byte %d between tensors is not 0", path, r.at-1)
			}
		}
	}
	pad()
	start := r.at
	for _, e := range entries {
		n := 1
		for _, x := range e.shape {
			n *= x
		}
		size, ok := map[uint32]int{0: 4 * n, 1: 2 * n, 8: n / 32 * 34, 30: 2 * n}[e.kind]
		if !ok || r.at-start != e.at {
			t.Fatalf("%s: tensor %s: type %d, at %d, the one before ends at %d", path, e.name, e.kind, e.at, r.at-start)
		}
		g.Tensors[e.name] = GGUFTensor{e.kind, e.shape, r.bytes(size)}
		pad()
	}
	if r.at != len(r.b) || len(g.Tensors) != tensors {
		t.Errorf("%s: %d bytes behind the last of %d tensors, %d names", path, len(r.b)-r.at, tensors, len(g.Tensors))
	}
	return g
}
