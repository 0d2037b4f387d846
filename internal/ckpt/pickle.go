package ckpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// maxOps is the most opcodes that a pickle may have: one of forty thousand tensors has fewer. Every opcode takes at
// most a few hundred bytes and no time to speak of, so this bounds both.
const maxOps = 1 << 21

// What a pickle makes is one of these, nil, a bool, an int or a float64, or what the calls of torch_objects.go make.
// None is ever printed: a list may hold itself, and a tuple of tuples may have more leaves than memory has bytes.
type (
	str    []byte // a text or bytes, where it lies in the file
	long   []byte // a whole number of more than 64 bits, little endian
	tuple  []any
	list   struct{ items []any }
	dict   struct{ keys, values []any }
	global string // a name of Python's: a class, a function, a type of elements
)

// unpickler is the part of Python's pickle machine that torch.save's dictionaries of tensors need (the opcodes of
// protocols 1 to 5, https://docs.python.org/3/library/pickletools.html). Python's own machine imports and calls
// whatever a file names; this one knows the few names of knownGlobals and runs nothing of a file's.
type unpickler struct {
	in      []byte
	at      int
	stack   []any
	marks   []int // heights of the stack
	memo    map[uint32]any
	storage func(id tuple) (any, error)
}

var errPickleEnds = fmt.Errorf("the pickle is cut off")

// unpickle reads the pickle at the beginning of b and returns what follows it.
func unpickle(b []byte, storage func(id tuple) (any, error)) (v any, rest []byte, err error) {
	u := &unpickler{in: b, memo: map[uint32]any{}, storage: storage}
	for range maxOps {
		if u.at >= len(b) {
			return nil, nil, errPickleEnds
		}
		op, at := b[u.at], u.at
		if u.at++; op == '.' {
			v, err := u.pop()
			return v, b[u.at:], err
		}
		if err := u.step(op); err != nil {
			return nil, nil, fmt.Errorf("byte %d of the pickle: %w", at, err)
		}
	}
	return nil, nil, fmt.Errorf("the pickle has more than %d steps, which no dictionary of tensors needs", maxOps)
}

// step obeys one opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		_, err := u.take(1)
		return err
	case 0x95: // FRAME
		_, err := u.take(8)
		return err
	case '(':
		u.marks = append(u.marks, len(u.stack))
		return nil
	case '0': // POP
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.items()
		return err
	case 'N':
		return u.push(nil, nil)
	case 0x88, 0x89:
		return u.push(op == 0x88, nil)
	case 'K', 'M', 'J', 'I', 'L', 0x8a, 0x8b, 'G':
		return u.push(u.number(op))
	case 'X', 'T', 'B', 'U', 'C', 0x8c, 0x8d, 0x8e, 0x96:
		return u.push(u.text(op))
	case 'q', 'r', 0x94, 'h', 'j':
		return u.remember(op)
	case 'Q': // BINPERSID
		v, err := u.pop()
		id, ok := v.(tuple)
		if err != nil || !ok {
			return fmt.Errorf("a persistent id that is no tuple")
		}
		return u.push(u.storage(id))
	case 'c', 0x93, 'R', 0x81, 'b':
		return u.object(op)
	}
	return u.container(op)
}

// container makes and fills tuples, lists, sets and dictionaries.
func (u *unpickler) container(op byte) error {
	switch op {
	case ')':
		return u.push(tuple{}, nil)
	case 0x85, 0x86, 0x87: // TUPLE1 to TUPLE3
		n := int(op-0x85) + 1
		if u.depth() < n {
			return errShort
		}
		t := append(tuple{}, u.stack[len(u.stack)-n:]...)
		u.stack = u.stack[:len(u.stack)-n]
		return u.push(t, nil)
	case 't':
		t, err := u.items()
		return u.push(tuple(t), err)
	case ']', 0x8f: // a set is as good as a list: nothing looks into it
		return u.push(&list{}, nil)
	case 0x91: // FROZENSET
		t, err := u.items()
		return u.push(&list{t}, err)
	case '}':
		return u.push(&dict{}, nil)
	case 'a':
		v, err := u.pop()
		if err != nil {
			return err
		}
		return u.extend([]any{v})
	case 'e', 0x90:
		vs, err := u.items()
		if err != nil {
			return err
		}
		return u.extend(vs)
	case 's':
		value, err1 := u.pop()
		key, err2 := u.pop()
		if err1 != nil || err2 != nil {
			return errShort
		}
		return u.set([]any{key, value})
	case 'u':
		vs, err := u.items()
		if err != nil {
			return err
		}
		return u.set(vs)
	}
	return fmt.Errorf("opcode %#x is none that torch.save writes", op)
}

var errShort = fmt.Errorf("it takes more than it has put down")

// depth is how much lies above the last mark.
func (u *unpickler) depth() int {
	if n := len(u.marks); n > 0 {
		return len(u.stack) - u.marks[n-1]
	}
	return len(u.stack)
}

// push takes what a function gives.
func (u *unpickler) push(v any, err error) error {
	if err == nil {
		u.stack = append(u.stack, v)
	}
	return err
}

func (u *unpickler) pop() (any, error) {
	if u.depth() < 1 {
		return nil, errShort
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

// items takes what lies above the last mark, and the mark.
func (u *unpickler) items() ([]any, error) {
	n := len(u.marks)
	if n == 0 {
		return nil, errShort
	}
	vs := append([]any{}, u.stack[u.marks[n-1]:]...)
	u.stack, u.marks = u.stack[:u.marks[n-1]], u.marks[:n-1]
	return vs, nil
}

// extend appends to the list that lies uppermost.
func (u *unpickler) extend(vs []any) error {
	if u.depth() > 0 {
		if l, ok := u.stack[len(u.stack)-1].(*list); ok {
			l.items = append(l.items, vs...)
			return nil
		}
	}
	return fmt.Errorf("it appends to what is no list")
}

// set adds keys and values, one after the other, to the dictionary that lies uppermost.
func (u *unpickler) set(vs []any) error {
	if u.depth() > 0 && len(vs)%2 == 0 {
		if d, ok := u.stack[len(u.stack)-1].(*dict); ok {
			for i := 0; i < len(vs); i += 2 {
				d.keys, d.values = append(d.keys, vs[i]), append(d.values, vs[i+1])
			}
			return nil
		}
	}
	return fmt.Errorf("it sets keys of what is no dictionary")
}

// take is the next n bytes.
func (u *unpickler) take(n uint64) ([]byte, error) {
	if n > uint64(len(u.in)-u.at) {
		return nil, errPickleEnds
	}
	b := u.in[u.at : u.at+int(n)]
	u.at += int(n)
	return b, nil
}

// uint is a little-endian number of n bytes.
func (u *unpickler) uint(n int) (uint64, error) {
	b, err := u.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var le [8]byte
	copy(le[:], b)
	return binary.LittleEndian.Uint64(le[:]), nil
}

// line is the text up to the next end of line, which must come soon: names and decimal numbers are short.
func (u *unpickler) line() (string, error) {
	const most = 256
	part := u.in[u.at:min(len(u.in), u.at+most)]
	i := bytes.IndexByte(part, '\n')
	if i < 0 && len(part) == most {
		return "", fmt.Errorf("a name or number of more than %d letters", most)
	}
	if i < 0 {
		return "", errPickleEnds
	}
	u.at += i + 1
	return string(part[:i]), nil
}

// number reads an opcode's number.
func (u *unpickler) number(op byte) (any, error) {
	switch op {
	case 'K', 'M', 'J':
		n, err := u.uint(map[byte]int{'K': 1, 'M': 2, 'J': 4}[op])
		if op == 'J' {
			return int(int32(n)), err
		}
		return int(n), err
	case 'G':
		b, err := u.take(8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case 'I', 'L':
		s, err := u.line()
		if err != nil {
			return nil, err
		}
		if op == 'I' && (s == "00" || s == "01") {
			return s == "01", nil
		}
		if len(s) > 0 && s[len(s)-1] == 'L' {
			s = s[:len(s)-1]
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a number that is none, or of more than 64 bits")
		}
		return int(n), nil
	}
	n, err := u.uint(map[byte]int{0x8a: 1, 0x8b: 4}[op]) // LONG1, LONG4
	if err != nil {
		return nil, err
	}
	if n > 255 {
		return nil, fmt.Errorf("a number of %d bytes", n)
	}
	b, err := u.take(n)
	if err != nil || n > 8 {
		return long(b), err
	}
	var le [8]byte
	if n > 0 && b[n-1] >= 0x80 { // negative
		le = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(le[:], b)
	return int(binary.LittleEndian.Uint64(le[:])), nil
}

// text reads an opcode's length and text.
func (u *unpickler) text(op byte) (any, error) {
	size := 4 // X, T, B
	switch op {
	case 'U', 'C', 0x8c:
		size = 1
	case 0x8d, 0x8e, 0x96:
		size = 8
	}
	n, err := u.uint(size)
	if err != nil {
		return nil, err
	}
	b, err := u.take(n)
	return str(b), err
}

// remember puts the uppermost value into the memo, or gets one out of it.
func (u *unpickler) remember(op byte) error {
	key, err := uint64(len(u.memo)), error(nil) // MEMOIZE counts
	switch op {
	case 'q', 'h':
		key, err = u.uint(1)
	case 'r', 'j':
		key, err = u.uint(4)
	}
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' {
		v, ok := u.memo[uint32(key)]
		if !ok {
			return fmt.Errorf("it asks for what it has not put into its memo")
		}
		return u.push(v, nil)
	}
	if u.depth() < 1 {
		return errShort
	}
	u.memo[uint32(key)] = u.stack[len(u.stack)-1]
	return nil
}

// object names one of Python's objects, calls one, or gives one its attributes.
func (u *unpickler) object(op byte) error {
	if op == 'c' { // GLOBAL
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		return u.push(findGlobal(module, name))
	}
	b, err1 := u.pop()
	a, err2 := u.pop()
	if err1 != nil || err2 != nil {
		return errShort
	}
	switch op {
	case 0x93: // STACK_GLOBAL
		module, ok1 := a.(str)
		name, ok2 := b.(str)
		if !ok1 || !ok2 || len(module)+len(name) > 256 {
			return fmt.Errorf("a name that is no short text")
		}
		return u.push(findGlobal(string(module), string(name)))
	case 'b': // BUILD: attributes of a parameter or of a dictionary, which say nothing of its elements
		return u.push(a, nil)
	}
	f, ok1 := a.(global) // REDUCE, NEWOBJ
	args, ok2 := b.(tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("it calls what cannot be called")
	}
	return u.push(call(f, args))
}
