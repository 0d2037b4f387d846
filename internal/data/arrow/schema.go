package arrow

import (
	"errors"
	"fmt"
	"slices"
)

// typeID is a type as Arrow numbers it (https://github.com/apache/arrow/blob/main/format/Schema.fbs, Type).
type typeID int

const (
	typeNull typeID = 1 + iota
	typeInt
	typeFloat
	typeBinary
	typeUtf8
	typeBool
	typeDecimal
	typeDate
	typeTime
	typeTimestamp
	typeInterval
	typeList
	typeStruct
	typeUnion
	typeFixedBinary
	typeFixedList
	typeMap
	typeDuration
	typeLargeBinary
	typeLargeUtf8
	typeLargeList
	typeRunEnd
	typeBinaryView
	typeUtf8View
	typeListView
	typeLargeListView
)

var typeNames = [...]string{"none", "null", "int", "float", "binary", "utf8", "bool", "decimal", "date", "time",
	"timestamp", "interval", "list", "struct", "union", "fixed_size_binary", "fixed_size_list", "map", "duration",
	"large_binary", "large_utf8", "large_list", "run_end_encoded", "binary_view", "utf8_view", "list_view",
	"large_list_view"}

// field is a column, or what a list or struct in it holds.
type field struct {
	name     string
	kind     typeID
	bits     int  // of a number
	signed   bool // of a whole one
	size     int  // bytes of a fixed_size_binary, elements of a fixed_size_list
	buffers  int  // that its values lie in, where they are not in a dictionary
	index    *field
	dict     int64 // the dictionary that the numbers of index are of
	children []*field
}

// Bounds of a schema that no data set comes near.
const (
	maxFields = 1 << 16
	maxDepth  = 64
)

var errSchema = errors.New("its schema nests deeper than 64 levels or has more than 65536 fields")

// readSchema reads the columns of a file.
func readSchema(t flatTable, version int) (out []*field, err error) {
	if t.short(0, 0) != 0 {
		return nil, errors.New("its numbers are big endian, which is not read; write it on another machine")
	}
	left := maxFields
	var read func(t flatTable, depth int) (*field, error)
	read = func(t flatTable, depth int) (*field, error) {
		if left--; left < 0 || depth > maxDepth {
			return nil, errSchema
		}
		f := &field{name: t.text(0), kind: typeID(t.byte(2))}
		if err := f.shape(t.table(3), version); err != nil {
			return nil, err
		}
		if d := t.table(4); d.at > 0 {
			f.dict = d.long(0)
			f.index = &field{kind: typeInt, bits: 32, signed: true, buffers: 2}
			if n := d.table(1); n.at > 0 {
				if err := f.index.shape(n, version); err != nil {
					return nil, err
				}
			}
		}
		for _, c := range t.tables(5) {
			child, err := read(c, depth+1)
			if err != nil {
				return nil, err
			}
			f.children = append(f.children, child)
		}
		want := map[typeID]int{typeList: 1, typeLargeList: 1, typeFixedList: 1, typeMap: 1, typeListView: 1,
			typeLargeListView: 1, typeRunEnd: 2}
		if n, ok := want[f.kind]; ok && n != len(f.children) {
			return nil, fmt.Errorf("its field %q is a %s of %d things", f.name, typeNames[f.kind], len(f.children))
		}
		return f, t.f.err
	}
	for _, c := range t.tables(1) {
		f, err := read(c, 1)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, t.f.err
}

// shape reads what the type says besides its number.
func (f *field) shape(t flatTable, version int) error {
	f.buffers = 2
	switch f.kind {
	case typeInt:
		f.bits, f.signed = t.int(0, 0), t.byte(1) != 0
		if !slices.Contains([]int{8, 16, 32, 64}, f.bits) {
			return fmt.Errorf("its field %q has whole numbers of %d bits", f.name, f.bits)
		}
	case typeFloat:
		p := t.short(0, 0)
		if p < 0 || p > 2 {
			return fmt.Errorf("its field %q has numbers of the precision %d", f.name, p)
		}
		f.bits = 16 << p
	case typeDate:
		f.bits, f.signed = 64, true
		if t.short(0, 1) == 0 {
			f.bits = 32
		}
	case typeTime:
		f.bits, f.signed = 64, true
		if t.int(1, 32) == 32 {
			f.bits = 32
		}
	case typeTimestamp, typeDuration:
		f.bits, f.signed = 64, true
	case typeFixedBinary, typeFixedList:
		if f.size = t.int(0, 0); f.size < 0 {
			return fmt.Errorf("its field %q has things of the size %d", f.name, f.size)
		}
		if f.kind == typeFixedList {
			f.buffers = 1
		}
	case typeUnion: // types and, where it is dense, offsets; before version 5 a bitmap, too
		f.buffers = 1 + t.short(0, 0)&1
		if version < version5 {
			f.buffers++
		}
	case typeNull, typeRunEnd:
		f.buffers = 0
	case typeStruct:
		f.buffers = 1
	case typeBinary, typeUtf8, typeLargeBinary, typeLargeUtf8, typeListView, typeLargeListView:
		f.buffers = 3
	case typeBool, typeDecimal, typeInterval, typeList, typeLargeList, typeMap, typeBinaryView, typeUtf8View:
	default:
		return fmt.Errorf("its field %q is of a type with the number %d, which is not known here", f.name, f.kind)
	}
	return nil
}

// views reports whether a field has as many further buffers as each batch says.
func (f *field) views() bool {
	return f.index == nil && (f.kind == typeBinaryView || f.kind == typeUtf8View)
}

// readable is what is in a column that cannot be read; at is its name.
func (f *field) readable(at string) error {
	switch f.kind {
	case typeDecimal, typeInterval, typeUnion, typeMap, typeRunEnd, typeListView, typeLargeListView:
		return fmt.Errorf("field %q is of Arrow's type %s, which is not read; write it as text, numbers, lists or structs, "+
			"or leave it out",
			at, typeNames[f.kind])
	case typeList, typeLargeList, typeFixedList:
		return f.children[0].readable(at + "[]")
	case typeStruct:
		for _, c := range f.children {
			if err := c.readable(at + "." + c.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// count is how many fields a field is, with those in it.
func (f *field) count() int {
	n := 1
	for _, c := range f.children {
		n += c.count()
	}
	return n
}

// dictionary finds the field whose values a dictionary holds.
func dictionary(fields []*field, id int64) *field {
	for _, f := range fields {
		if f.index != nil && f.dict == id {
			of := *f
			of.index = nil
			return &of
		}
		if g := dictionary(f.children, id); g != nil {
			return g
		}
	}
	return nil
}
