package ckpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"

	"longlora/internal/tensor"
)

// pickleArgs says what follows each opcode: n ≥ 0 fixed bytes, -n: a length of n bytes and then as many,
// line or lines: text up to one or two newlines. What is not here is no opcode.
var pickleArgs = func() (t [256]int) {
	for i := range t {
		t[i] = unknownOp
	}
	for _, op := range []byte("(.012NR]ade})bltsuoQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98") {
		t[op] = 0
	}
	for _, op := range []byte("FILPSVgp") {
		t[op] = line
	}
	t['c'], t['i'] = lines, lines
	for op, n := range map[byte]int{'K': 1, 'h': 1, 'q': 1, 'M': 2, 'J': 4, 'j': 4, 'r': 4, 'G': 8, 0x80: 1, 0x82: 1, 0x83: 2, 0x84: 4, 0x95: 8,
		'U': -1, 'C': -1, 0x8a: -1, 0x8c: -1, 'T': -4, 'X': -4, 'B': -4, 0x8b: -4, 0x8d: -8, 0x8e: -8, 0x96: -8} {
		t[op] = n
	}
	return t
}()

const (
	unknownOp = 100 + iota
	line
	lines
)

// pickleLen is the length of the pickle at the beginning of b. It walks the opcodes without obeying them, so that
// no length in them can make the unpickler ask for memory that the file does not have.
func pickleLen(b []byte) (int, error) {
	for at := 0; at < len(b); {
		op := b[at]
		at++
		switch n := pickleArgs[op]; {
		case op == '.':
			return at, nil
		case n == unknownOp:
			return 0, fmt.Errorf("opcode %#x at byte %d is not known", op, at-1)
		case n == line || n == lines:
			for range n - line + 1 {
				i := bytes.IndexByte(b[at:], '\n')
				if i < 0 {
					return 0, errPickleEnds
				}
				at += i + 1
			}
		case n >= 0:
			at += n
			if op == 0x95 && at <= len(b) && binary.LittleEndian.Uint64(b[at-8:]) > uint64(len(b)-at) {
				return 0, errPickleEnds
			}
		default:
			if at-n > len(b) {
				return 0, errPickleEnds
			}
			var le [8]byte
			copy(le[:], b[at:at-n])
			if at -= n; binary.LittleEndian.Uint64(le[:]) > uint64(len(b)-at) {
				return 0, errPickleEnds
			}
			at += int(binary.LittleEndian.Uint64(le[:]))
		}
	}
	return 0, errPickleEnds
}

var errPickleEnds = fmt.Errorf("the pickle is cut off")

// unpickle reads the pickle at the beginning of b and returns what follows it. Nothing in it is executed: classes
// but those of plain tensors and containers are refused.
func unpickle(b []byte, storage func(id []any) (any, error)) (v any, rest []byte, err error) {
	n, err := pickleLen(b)
	if err != nil {
		return nil, nil, err
	}
	defer func() { // the unpickler trusts the types of what it pops
		if r := recover(); r != nil {
			err = fmt.Errorf("broken pickle: %v", r)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(b[:n]))
	u.FindClass = torchClass
	u.PersistentLoad = func(id any) (any, error) {
		t, ok := id.(*types.Tuple)
		if !ok {
			return nil, fmt.Errorf("persistent id %v is no tuple", id)
		}
		return storage(*t)
	}
	v, err = u.Load()
	return v, b[n:], err
}

// storageClass is one of torch's classes of typed storage.
type storageClass struct {
	name string // of the element type
	size int
}

var storageClasses = map[string]storageClass{"FloatStorage": {"F32", 4}, "BFloat16Storage": {"BF16", 2}, "HalfStorage": {"F16", 2},
	"DoubleStorage": {"F64", 8}, "IntStorage": {"I32", 4}, "LongStorage": {"I64", 8}, "ShortStorage": {"I16", 2},
	"CharStorage": {"I8", 1}, "ByteStorage": {"U8", 1}, "BoolStorage": {"BOOL", 1}}

// torchClass resolves the few names that a dictionary of tensors needs.
func torchClass(module, name string) (any, error) {
	if c, ok := storageClasses[name]; ok && module == "torch" {
		return c, nil
	}
	if module == "torch._utils" {
		switch name {
		case "_rebuild_tensor_v2":
			return rebuildTensor{}, nil
		case "_rebuild_parameter":
			return rebuildParameter{}, nil
		}
	}
	return nil, fmt.Errorf("it asks for %s.%s, which is no part of a tensor, and nothing in a pickle is run", module, name)
}

// torchStorage is where elements of tensors lie; data comes last in files of the old form.
type torchStorage struct {
	class storageClass
	elems int
	data  []byte
}

// torchTensor is a view of a storage, extents and strides in elements.
type torchTensor struct {
	from         *torchStorage
	offset       int
	size, stride []int
}

// rebuildTensor stands for torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]).
type rebuildTensor struct{}

func (rebuildTensor) Call(args ...any) (any, error) {
	if len(args) < 6 {
		return nil, fmt.Errorf("a tensor of %d arguments", len(args))
	}
	s, ok1 := args[0].(*torchStorage)
	off, ok2 := args[1].(int)
	size, ok3 := ints(args[2])
	stride, ok4 := ints(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(size) != len(stride) {
		return nil, fmt.Errorf("a tensor of wrong arguments: %T, %v, %v, %v", args[0], args[1], args[2], args[3])
	}
	return &torchTensor{s, off, size, stride}, nil
}

// rebuildParameter stands for torch._utils._rebuild_parameter(data, requires_grad, hooks).
type rebuildParameter struct{}

func (rebuildParameter) Call(args ...any) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*torchTensor); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("a parameter that is no tensor")
}

func ints(v any) ([]int, bool) {
	t, ok := v.(*types.Tuple)
	if !ok {
		return nil, false
	}
	out := make([]int, len(*t))
	for i, x := range *t {
		if out[i], ok = x.(int); !ok {
			return nil, false
		}
	}
	return out, true
}

// tensor cuts the view out of its storage: mapped memory where it is dense, a gathered copy where it is not.
func (t *torchTensor) tensor(name, file string) (Tensor, error) {
	d, known := tensor.ParseDType(t.from.class.name)
	out := Tensor{Name: name, File: file, DType: d, Shape: append(tensor.Shape{}, t.size...)}
	n, last := big.NewInt(1), big.NewInt(int64(t.offset))
	for i, e := range t.size {
		if e < 0 || t.stride[i] < 0 {
			return out, fmt.Errorf("shape %v with strides %v", t.size, t.stride)
		}
		n.Mul(n, big.NewInt(int64(e)))
		step := big.NewInt(int64(max(0, e-1)))
		last.Add(last, step.Mul(step, big.NewInt(int64(t.stride[i]))))
	}
	elems := big.NewInt(int64(t.from.elems))
	if t.offset < 0 || n.Cmp(elems) > 0 || n.Sign() > 0 && last.Cmp(elems) >= 0 {
		return out, fmt.Errorf("shape %v, strides %v and offset %d pass the %d elements of its storage", t.size, t.stride, t.offset, t.from.elems)
	}
	if !known {
		out.foreign = t.from.class.name
		return out, nil
	}
	if t.dense() {
		es := d.Size()
		out.mapped = true
		if n.Sign() > 0 {
			out.data = t.from.data[t.offset*es:][:out.Shape.Elems()*es]
		}
		return out, nil
	}
	out.view = &strided{t.from.data, t.offset, t.stride}
	return out, nil
}

// dense reports whether the elements lie one after the other, in order.
func (t *torchTensor) dense() bool {
	want := 1
	for i := len(t.size) - 1; i >= 0; i-- {
		if t.size[i] != 1 && t.stride[i] != want {
			return false
		}
		want *= t.size[i]
	}
	return true
}
