package ckpt

import (
	"fmt"
	"math/big"
	"strings"

	"longlora/internal/tensor"
)

// element is a type of elements as PyTorch names it.
type element struct {
	name string // of safetensors
	size int    // bytes
}

// elements are PyTorch's types.
var elements = map[string]element{"float32": {"F32", 4}, "float16": {"F16", 2}, "bfloat16": {"BF16", 2},
	"float64": {"F64", 8},
	"int64":   {"I64", 8}, "int32": {"I32", 4}, "int16": {"I16", 2}, "int8": {"I8", 1}, "uint8": {"U8", 1},
	"bool":   {"BOOL", 1},
	"uint16": {"U16", 2}, "uint32": {"U32", 4}, "uint64": {"U64", 8}, "complex64": {"C64", 8}, "complex128": {"C128", 16},
	"float8_e4m3fn": {"F8_E4M3", 1}, "float8_e5m2": {"F8_E5M2", 1}, "float8_e4m3fnuz": {"F8_E4M3FNUZ", 1},
	"float8_e5m2fnuz": {"F8_E5M2FNUZ", 1}, "float8_e8m0fnu": {"F8_E8M0", 1}, "float4_e2m1fn_x2": {"F4", 1},
	"quint8": {"quint8", 1}, "qint8": {"qint8", 1}, "qint32": {"qint32", 4}}

// storages are PyTorch's classes of typed storage, by the type of their elements; UntypedStorage counts bytes.
var storages = map[string]string{"FloatStorage": "float32", "BFloat16Storage": "bfloat16", "HalfStorage": "float16",
	"DoubleStorage": "float64", "IntStorage": "int32", "LongStorage": "int64", "ShortStorage": "int16",
	"CharStorage": "int8",
	"ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
	"ComplexDoubleStorage": "complex128",
	"QUInt8Storage":        "quint8", "QInt8Storage": "qint8", "QInt32Storage": "qint32"}

const untyped = global("torch.storage.UntypedStorage")

// others are objects that may stand in a file beside tensors, or say something of them that does not matter here. What
// they make is never looked at.
var others = map[global]bool{"torch.device": true, "torch.serialization._get_layout": true, "_codecs.encode": true,
	"builtins.bytearray": true, "builtins.set": true, "__builtin__.set": true, "builtins.frozenset": true,
	"builtins.complex":    true,
	"collections.Counter": true, "torch.Tensor": true, "torch.nn.parameter.Parameter": true}

// opaque is what one of others made.
type opaque struct{}

// calls are the functions that make tensors and the containers they come in, as torch._utils and collections have them.
var calls = map[global]func(args tuple) (any, error){
	"torch._utils._rebuild_tensor":               rebuildTensor,
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_tensor_v3":            rebuildTensor,
	"torch._utils._rebuild_parameter":            rebuildParameter,
	"torch._utils._rebuild_parameter_with_state": rebuildParameter,
	"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
	"collections.OrderedDict":                    orderedDict,
	"torch.Size":                                 size,
}

// findGlobal resolves one of the few names that dictionaries of tensors need.
func findGlobal(module, name string) (any, error) {
	full := global(module + "." + name)
	_, isCall := calls[full]
	_, isStorage := storages[name]
	_, isType := elements[name]
	if isCall || others[full] || full == untyped || module == "torch" && (isStorage || isType) {
		return full, nil
	}
	switch name {
	case "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage":
		if module == "torch._utils" {
			return nil, fmt.Errorf("a %s tensor; only plain ones are read", strings.Split(name, "_")[2])
		}
	}
	return nil, fmt.Errorf("it asks for %s, which is no part of a tensor, and nothing in a pickle is run", full)
}

// call stands for f(*args).
func call(f global, args tuple) (any, error) {
	if c, ok := calls[f]; ok {
		return c(args)
	}
	if others[f] {
		return opaque{}, nil
	}
	return nil, fmt.Errorf("it calls %s", f)
}

// torchStorage is where elements of tensors lie; data comes last in files of the old form.
type torchStorage struct {
	class global
	unit  int // bytes of an element
	elems int
	data  []byte
}

// newStorage is the storage that a persistent id ("storage", class, key, location, elements, …) names.
func newStorage(id tuple, known map[string]*torchStorage) (string, *torchStorage, error) {
	if len(id) < 5 {
		return "", nil, fmt.Errorf("a persistent id of %d parts", len(id))
	}
	what, ok0 := id[0].(str)
	class, ok1 := id[1].(global)
	key, ok2 := id[2].(str)
	n, ok3 := id[4].(int)
	if !ok0 || !ok1 || !ok2 || !ok3 || string(what) != "storage" || len(key) > 256 || n < 0 || n > 1<<56 || len(id) > 5 &&
		id[5] != nil {
		return "", nil, fmt.Errorf("a persistent id that is no storage")
	}
	unit := 1
	if class != untyped {
		kind, ok := storages[strings.TrimPrefix(string(class), "torch.")]
		if !ok {
			return "", nil, fmt.Errorf("a storage of class %s", class)
		}
		unit = elements[kind].size
	}
	s := known[string(key)]
	if s == nil {
		s = &torchStorage{class: class, unit: unit, elems: n}
		known[string(key)] = s
	}
	if s.class != class || s.elems != n {
		return "", nil, fmt.Errorf("storage %q is described in two ways", key)
	}
	return string(key), s, nil
}

// torchTensor is a view of a storage, extents and strides in elements.
type torchTensor struct {
	from         *torchStorage
	kind         element
	offset       int
	size, stride []int
}

// rebuildTensor stands for _rebuild_tensor(storage, offset, size, stride), for _v2, which adds what does not matter
// here, and for _v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata]), whose storage has no type.
func rebuildTensor(args tuple) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("a tensor of %d arguments", len(args))
	}
	s, ok1 := args[0].(*torchStorage)
	off, ok2 := args[1].(int)
	size, ok3 := ints(args[2])
	stride, ok4 := ints(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(size) != len(stride) {
		return nil, fmt.Errorf("a tensor of wrong arguments")
	}
	name, class := storages[strings.TrimPrefix(string(s.class), "torch.")], s.class == untyped
	if class {
		if len(args) < 7 {
			return nil, fmt.Errorf("a tensor without a type")
		}
		g, _ := args[6].(global)
		name = strings.TrimPrefix(string(g), "torch.")
	}
	kind, ok := elements[name]
	if !ok {
		return nil, fmt.Errorf("a tensor of an unknown type")
	}
	return &torchTensor{s, kind, off, size, stride}, nil
}

// rebuildParameter stands for _rebuild_parameter(data, requires_grad, hooks[, state]).
func rebuildParameter(args tuple) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*torchTensor); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("a parameter that is no tensor")
}

// rebuildFromType stands for _rebuild_from_type_v2(function, type, arguments, state): a tensor with attributes.
func rebuildFromType(args tuple) (any, error) {
	if len(args) == 4 {
		f, ok1 := args[0].(global)
		kind, ok2 := args[1].(global)
		inner, ok3 := args[2].(tuple)
		plain := kind == "torch.Tensor" || kind == "torch.nn.parameter.Parameter"
		if ok1 && ok2 && ok3 && plain && strings.HasPrefix(string(f), "torch._utils._rebuild_tensor") {
			return rebuildTensor(inner)
		}
	}
	return nil, fmt.Errorf("a tensor of a class of its own")
}

// orderedDict stands for OrderedDict(), with a list of pairs in pickles of Python 2.
func orderedDict(args tuple) (any, error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	l, ok := args[0].(*list)
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("a dictionary of no pairs")
	}
	for _, x := range l.items {
		pair, ok := x.(*list)
		if !ok || len(pair.items) != 2 {
			return nil, fmt.Errorf("a dictionary of no pairs")
		}
		d.keys, d.values = append(d.keys, pair.items[0]), append(d.values, pair.items[1])
	}
	l.items = nil // it is this dictionary's now: a pickle that makes a second one of it must not cost the same again
	return d, nil
}

// size stands for torch.Size(tuple).
func size(args tuple) (any, error) {
	if len(args) == 1 {
		if t, ok := args[0].(tuple); ok {
			return t, nil
		}
	}
	return nil, fmt.Errorf("a size that is no tuple")
}

// maxAxes is the most that PyTorch itself allows.
const maxAxes = 64

func ints(v any) ([]int, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > maxAxes {
		return nil, false
	}
	out := make([]int, len(t))
	for i, x := range t {
		if out[i], ok = x.(int); !ok {
			return nil, false
		}
	}
	return out, true
}

// tensor cuts the view out of its storage.
func (t *torchTensor) tensor(name, file string) (Tensor, error) {
	d, known := tensor.ParseDType(t.kind.name)
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
	elems := big.NewInt(int64(t.from.elems * t.from.unit / t.kind.size))
	switch {
	case t.offset < 0 || n.Sign() > 0 && last.Cmp(elems) >= 0:
		return out, fmt.Errorf("shape %v, strides %v and offset %d pass the %d elements of its storage", t.size, t.stride,
			t.offset, elems)
	case n.Cmp(elems) > 0: // a few bytes must not become more tensor than there is memory
		return out, fmt.Errorf("shape %v and strides %v take the %d elements of its storage more than once, as an expanded "+
			"tensor does, which is not read; save it with .contiguous()", t.size, t.stride, elems)
	}
	if !known {
		out.foreign = t.kind.name
		return out, nil
	}
	if !t.dense() {
		out.view = &strided{t.from.data, t.offset, t.stride}
		return out, nil
	}
	out.mapped = true
	if es := d.Size(); n.Sign() > 0 {
		out.data = t.from.data[t.offset*es:][:out.Shape.Elems()*es]
	}
	return out, nil
}

// dense reports whether the elements lie one after the other, in order; none at all do.
func (t *torchTensor) dense() bool {
	want, ordered := 1, true
	for i := len(t.size) - 1; i >= 0; i-- {
		if t.size[i] == 0 {
			return true
		}
		ordered = ordered && (t.size[i] == 1 || t.stride[i] == want)
		want *= t.size[i]
	}
	return ordered
}
