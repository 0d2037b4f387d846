package arrow

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"longlora/internal/data/plaintext"
	"longlora/internal/data/record"
)

// buffer is a stretch of a file, read through a window.
type buffer struct {
	r      io.ReaderAt
	off, n int64
	window int64 // bytes that are held
	held   []byte
	at     int64 // of held
}

var errOutside = errors.New("its values lie outside what the file holds for them")

// bytes are n bytes from a place on, to be read before the next call.
func (b *buffer) bytes(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at > b.n-n {
		return nil, errOutside
	}
	if at >= b.at && at+n <= b.at+int64(len(b.held)) {
		return b.held[at-b.at:][:n], nil
	}
	size := min(max(n, b.window), b.n-at)
	if int64(cap(b.held)) < size {
		b.held = make([]byte, size)
	}
	buf := b.held[:size]
	b.held = nil // in case that it cannot be read
	if _, err := b.r.ReadAt(buf, b.off+at); err != nil {
		return nil, record.CutOff(err)
	}
	b.held, b.at = buf, at
	if n > b.window { // it is not wanted twice
		b.held = nil
	}
	return buf[:n], nil
}

// word is a little-endian number of 1, 2, 4 or 8 bytes, the i-th.
func (b *buffer) word(i int64, size int) (uint64, error) {
	if i < 0 || i > math.MaxInt64/8 {
		return 0, errOutside
	}
	p, err := b.bytes(i*int64(size), int64(size))
	if err != nil {
		return 0, err
	}
	var w [8]byte
	copy(w[:], p)
	return binary.LittleEndian.Uint64(w[:]), nil
}

// bit is a bit of a bitmap.
func (b *buffer) bit(i int64) (bool, error) {
	p, err := b.bytes(i/8, 1)
	return err == nil && p[0]>>(i%8)&1 == 1, err
}

// column is a column of a batch, or what a list or struct in it holds.
type column struct {
	f        *field
	n, nulls int64
	buffers  []*buffer
	children []*column
}

// valueReader reads values.
type valueReader struct {
	dicts  map[int64][]*column
	left   int // bytes that the row may still have
	values int // and values
	watch  *plaintext.Watch
}

// valueBytes is the memory of a value beside its text.
const valueBytes = 64

// someValues is how many values a row of the smallest file may have. Nulls take no room in a file, and a list may be as
// long as it says.
const someValues = 1 << 14

// value is value i of a column: nil, bool, a number, a text, []any or *record.Object.
func (r *valueReader) value(c *column, i int64, depth int) (any, error) {
	r.left -= valueBytes
	if r.values--; r.left < 0 || r.values < 0 {
		return nil, record.ErrLong
	}
	if depth > 2*maxDepth || i < 0 || i >= c.n {
		return nil, errOutside
	}
	if c.f.kind == typeNull && c.f.index == nil {
		return nil, nil
	}
	if c.nulls != 0 && c.buffers[0].n > 0 {
		if ok, err := c.buffers[0].bit(i); !ok || err != nil {
			return nil, err
		}
	}
	if c.f.index != nil {
		return r.looked(c, i, depth)
	}
	switch c.f.kind {
	case typeBool:
		return c.buffers[1].bit(i)
	case typeInt, typeFloat, typeDate, typeTime, typeTimestamp, typeDuration:
		return numeral(c, c.f, i)
	case typeBinary, typeUtf8, typeLargeBinary, typeLargeUtf8:
		lo, hi, err := c.offsets(i, c.f.kind == typeLargeBinary || c.f.kind == typeLargeUtf8)
		if err != nil {
			return nil, err
		}
		return r.text(c.buffers[2], lo, hi-lo)
	case typeFixedBinary:
		return r.text(c.buffers[1], i*int64(c.f.size), int64(c.f.size))
	case typeBinaryView, typeUtf8View:
		return r.view(c, i)
	case typeList, typeLargeList, typeFixedList:
		lo, hi := i*int64(c.f.size), (i+1)*int64(c.f.size)
		if c.f.kind != typeFixedList {
			var err error
			if lo, hi, err = c.offsets(i, c.f.kind == typeLargeList); err != nil {
				return nil, err
			}
		}
		list := []any{}
		for ; lo < hi; lo++ {
			v, err := r.value(c.children[0], lo, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case typeStruct:
		o := &record.Object{Of: map[string]any{}}
		for _, child := range c.children {
			v, err := r.value(child, i, depth+1)
			if err != nil {
				return nil, err
			}
			if _, again := o.Of[child.f.name]; !again {
				o.Keys = append(o.Keys, child.f.name)
			}
			o.Of[child.f.name] = v
		}
		return o, nil
	}
	return nil, errOutside // readable has refused it
}

// looked is a value of a dictionary, which may have come in several parts.
func (r *valueReader) looked(c *column, i int64, depth int) (any, error) {
	w, err := c.buffers[1].word(i, c.f.index.bits/8)
	if err != nil {
		return nil, err
	}
	at := int64(w)
	for _, d := range r.dicts[c.f.dict] {
		if at >= 0 && at < d.n {
			return r.value(d, at, depth+1)
		}
		at -= d.n
	}
	return nil, errors.New("it names a value that its dictionary does not have")
}

// numeral is a number as Go has it.
func numeral(c *column, f *field, i int64) (any, error) {
	w, err := c.buffers[1].word(i, f.bits/8)
	switch {
	case err != nil:
		return nil, err
	case f.kind == typeFloat && f.bits == 64:
		return math.Float64frombits(w), nil
	case f.kind == typeFloat && f.bits == 32:
		return math.Float32frombits(uint32(w)), nil
	case f.kind == typeFloat:
		return half(uint16(w)), nil
	case !f.signed:
		return w, nil
	}
	shift := 64 - f.bits
	return int64(w<<shift) >> shift, nil
}

// half is a float of 16 bits.
func half(h uint16) float32 {
	sign, exp, frac := float64(1), int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch exp {
	case 0:
		return float32(sign * math.Ldexp(frac, -24))
	case 31:
		if frac != 0 {
			return float32(math.NaN())
		}
		return float32(math.Inf(int(sign)))
	}
	return float32(sign * math.Ldexp(1024+frac, exp-25))
}

// offsets are where value i begins and ends among what the column's values lie in.
func (c *column) offsets(i int64, large bool) (lo, hi int64, err error) {
	size := 4
	if large {
		size = 8
	}
	p, err := c.buffers[1].bytes(i*int64(size), 2*int64(size))
	if err != nil {
		return 0, 0, err
	}
	if large {
		lo, hi = int64(binary.LittleEndian.Uint64(p)), int64(binary.LittleEndian.Uint64(p[8:]))
	} else {
		lo, hi = int64(int32(binary.LittleEndian.Uint32(p))), int64(int32(binary.LittleEndian.Uint32(p[4:])))
	}
	if lo < 0 || hi < lo {
		return 0, 0, errOutside
	}
	return lo, hi, nil
}

// text is a text of n bytes, valid UTF-8.
func (r *valueReader) text(b *buffer, at, n int64) (any, error) {
	if n > int64(r.left) {
		return nil, record.ErrLong
	}
	r.left -= int(n)
	p, err := b.bytes(at, n)
	if err != nil {
		return nil, err
	}
	return r.watch.Text(string(p)), nil
}

// view is a text that lies in its view, or in one of the further buffers.
func (r *valueReader) view(c *column, i int64) (any, error) {
	p, err := c.buffers[1].bytes(i*16, 16)
	if err != nil {
		return nil, err
	}
	const inside = 12
	n := int64(int32(binary.LittleEndian.Uint32(p)))
	if n <= inside {
		return r.text(c.buffers[1], i*16+4, n)
	}
	b, at := int(int32(binary.LittleEndian.Uint32(p[8:]))), int64(int32(binary.LittleEndian.Uint32(p[12:])))
	if b < 0 || b >= len(c.buffers)-2 {
		return nil, errOutside
	}
	return r.text(c.buffers[2+b], at, n)
}
