package arrow

import (
	"encoding/binary"
	"errors"
)

// flat reads a flatbuffer, in which Arrow describes its data (https://flatbuffers.dev/internals). The first thing that
// does not lie within its bytes is remembered, and what is read then is 0.
type flat struct {
	b   []byte
	err error
}

var errFlat = errors.New("its description of the data does not hold together")

// bytes are n bytes at a place, zeros where they are not there.
func (f *flat) bytes(at, n int) []byte {
	if at < 0 || n < 0 || at > len(f.b)-n {
		f.err = errFlat
		return make([]byte, min(max(n, 0), 8))
	}
	return f.b[at : at+n]
}

func (f *flat) u16(at int) int { return int(binary.LittleEndian.Uint16(f.bytes(at, 2))) }
func (f *flat) i32(at int) int { return int(int32(binary.LittleEndian.Uint32(f.bytes(at, 4)))) }
func (f *flat) i64(at int) int64 {
	return int64(binary.LittleEndian.Uint64(f.bytes(at, 8)))
}

// follow is the place that an offset at a place leads to.
func (f *flat) follow(at int) int {
	to := at + f.i32(at)
	if to <= at { // which would lead in circles
		f.err = errFlat
	}
	return to
}

// root is the outermost table.
func (f *flat) root() flatTable { return flatTable{f, f.follow(0)} }

// flatTable is a table of a flatbuffer: fields by number, each of which may be absent.
type flatTable struct {
	f  *flat
	at int
}

// field is where a field lies, 0 where it is absent.
func (t flatTable) field(i int) int {
	if t.at == 0 || t.f.err != nil {
		return 0
	}
	v := t.at - t.f.i32(t.at)
	if size := t.f.u16(v); 4+2*i+2 > size {
		return 0
	}
	o := t.f.u16(v + 4 + 2*i)
	if o == 0 {
		return 0
	}
	return t.at + o
}

// The values of fields, what stands for an absent one where it is.
func (t flatTable) byte(i int) int {
	if at := t.field(i); at > 0 {
		return int(t.f.bytes(at, 1)[0])
	}
	return 0
}

func (t flatTable) short(i, absent int) int {
	if at := t.field(i); at > 0 {
		return int(int16(t.f.u16(at)))
	}
	return absent
}

func (t flatTable) int(i, absent int) int {
	if at := t.field(i); at > 0 {
		return t.f.i32(at)
	}
	return absent
}

func (t flatTable) long(i int) int64 {
	if at := t.field(i); at > 0 {
		return t.f.i64(at)
	}
	return 0
}

// table is a table in a field; it is empty where the field is absent.
func (t flatTable) table(i int) flatTable {
	if at := t.field(i); at > 0 {
		return flatTable{t.f, t.f.follow(at)}
	}
	return flatTable{t.f, 0}
}

// vector is where a list of n things of so many bytes begins.
func (t flatTable) vector(i, size int) (at, n int) {
	if at = t.field(i); at == 0 {
		return 0, 0
	}
	at = t.f.follow(at)
	n = t.f.i32(at)
	if n < 0 || n > len(t.f.b)/size || t.f.err != nil {
		t.f.err = errFlat
		return 0, 0
	}
	t.f.bytes(at+4, n*size)
	return at + 4, n
}

// tables are the tables of a list.
func (t flatTable) tables(i int) []flatTable {
	at, n := t.vector(i, 4)
	out := make([]flatTable, n)
	for k := range out {
		out[k] = flatTable{t.f, t.f.follow(at + 4*k)}
	}
	return out
}

func (t flatTable) text(i int) string {
	at, n := t.vector(i, 1)
	if t.f.err != nil || n == 0 {
		return ""
	}
	return string(t.f.bytes(at, n))
}
