package ckpt

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"path"

	"github.com/nlpodyssey/gopickle/types"

	"longlora/internal/errs"
)

// OpenTorch maps a file that torch.save wrote, in its zip form or the one before it, and gives the dictionary of
// tensors that it holds. Nothing in its pickles is executed. Elements stay where they are in the file.
func OpenTorch(path string) (*File, error) {
	m, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Tensors: map[string]Tensor{}, mapped: m}
	if err := f.parseTorch(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// parseTorch reads the file that is mapped, of either form.
func (f *File) parseTorch() error {
	read := readTorchLegacy
	if bytes.HasPrefix(f.mapped, []byte("PK")) {
		read = readTorchZip
	}
	v, err := read(f.mapped)
	if err != nil {
		return errs.Dataf("%s: not a PyTorch file of plain tensors: %w; fetch it again, or convert it to safetensors", f.Path, err)
	}
	return f.addTorch(v)
}

// addTorch adds the tensors of the dictionary v.
func (f *File) addTorch(v any) error {
	add := func(k, v any) error {
		name, ok := k.(string)
		t, isTensor := v.(*torchTensor)
		if !ok || !isTensor {
			return errs.Dataf("%s: entry %v is no named tensor", f.Path, k)
		}
		c, err := t.tensor(name, f.Path)
		if err != nil {
			return errs.Dataf("%s: tensor %s: %w", f.Path, name, err)
		}
		f.Tensors[name] = c
		return nil
	}
	switch d := v.(type) {
	case *types.Dict:
		for _, e := range *d {
			if err := add(e.Key, e.Value); err != nil {
				return err
			}
		}
	case *types.OrderedDict:
		for e := d.List.Front(); e != nil; e = e.Next() {
			x := e.Value.(*types.OrderedDictEntry)
			if err := add(x.Key, x.Value); err != nil {
				return err
			}
		}
	default:
		return errs.Dataf("%s: is no dictionary of tensors", f.Path)
	}
	return nil
}

// readTorchZip reads the form of PyTorch 1.6 and later: a zip of NAME/data.pkl and, uncompressed, NAME/data/KEY.
func readTorchZip(m []byte) (any, error) {
	z, err := zip.NewReader(bytes.NewReader(m), int64(len(m)))
	if err != nil {
		return nil, err
	}
	records, root := map[string]*zip.File{}, ""
	for _, r := range z.File {
		records[r.Name] = r
		switch path.Base(r.Name) {
		case "data.pkl":
			root = path.Dir(r.Name)
		case "constants.pkl":
			return nil, fmt.Errorf("it is TorchScript")
		}
	}
	if root == "" {
		return nil, fmt.Errorf("data.pkl is missing in it")
	}
	if order, err := record(m, records, root+"/byteorder"); err == nil && string(order) != "little" {
		return nil, fmt.Errorf("byte order %q is not supported", order)
	}
	data, err := record(m, records, root+"/data.pkl")
	if err != nil {
		return nil, err
	}
	storages := map[string]*torchStorage{}
	v, _, err := unpickle(data, func(id []any) (any, error) {
		key, s, err := newStorage(id, storages)
		if err == nil && s.data == nil {
			if s.data, err = record(m, records, root+"/data/"+key); err == nil && len(s.data) != s.elems*s.class.size {
				err = fmt.Errorf("storage %s has %d bytes, %d elements of %s are wanted", key, len(s.data), s.elems, s.class.name)
			}
		}
		return s, err
	})
	return v, err
}

// record is the content of a stored, uncompressed entry of the zip mapped at m.
func record(m []byte, records map[string]*zip.File, name string) ([]byte, error) {
	r, ok := records[name]
	if !ok {
		return nil, fmt.Errorf("record %s is missing in it", name)
	}
	off, err := r.DataOffset()
	if err != nil {
		return nil, err
	}
	if r.Method != zip.Store {
		return nil, fmt.Errorf("record %s is compressed", name)
	}
	if off > int64(len(m)) || r.UncompressedSize64 > uint64(int64(len(m))-off) {
		return nil, fmt.Errorf("record %s is cut off", name)
	}
	return m[off : off+int64(r.UncompressedSize64)], nil
}

// newStorage is the storage that a persistent id ("storage", class, key, location, elements, …) names.
func newStorage(id []any, known map[string]*torchStorage) (string, *torchStorage, error) {
	if len(id) < 5 || id[0] != "storage" {
		return "", nil, fmt.Errorf("persistent id %v is no storage", id)
	}
	class, ok1 := id[1].(storageClass)
	key, ok2 := id[2].(string)
	n, ok3 := id[4].(int)
	if !ok1 || !ok2 || !ok3 || n < 0 || n > 1<<56 || len(id) > 5 && id[5] != nil {
		return "", nil, fmt.Errorf("storage %v is not supported", id)
	}
	s := known[key]
	if s == nil {
		s = &torchStorage{class: class, elems: n}
		known[key] = s
	}
	if s.class != class || s.elems != n {
		return "", nil, fmt.Errorf("storage %s is described in two ways", key)
	}
	return key, s, nil
}

// legacyMagic is the number that files of the old form begin with, and legacyVersion the only version there was.
var legacyMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

const legacyVersion = 1001

// readTorchLegacy reads the form before PyTorch 1.6: pickles of a magic number, a version, the system, the object
// and the storages' keys, then each storage as a count and its elements.
func readTorchLegacy(m []byte) (any, error) {
	none := func(id []any) (any, error) { return nil, fmt.Errorf("a storage in the file's head") }
	magic, rest, err := unpickle(m, none)
	if err != nil {
		return nil, err
	}
	if n, ok := magic.(*big.Int); !ok || n.Cmp(legacyMagic) != 0 {
		return nil, fmt.Errorf("it begins with neither a zip nor PyTorch's magic number")
	}
	version, rest, err := unpickle(rest, none)
	if err != nil {
		return nil, err
	}
	if version != legacyVersion {
		return nil, fmt.Errorf("version %v is not %d", version, legacyVersion)
	}
	if _, rest, err = unpickle(rest, none); err != nil {
		return nil, err
	}
	storages := map[string]*torchStorage{}
	v, rest, err := unpickle(rest, func(id []any) (any, error) {
		_, s, err := newStorage(id, storages)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	keys, rest, err := unpickle(rest, none)
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*types.List)
	if !ok || len(*list) != len(storages) {
		return nil, fmt.Errorf("its list of storages does not match its tensors")
	}
	for _, k := range *list {
		key, _ := k.(string)
		s := storages[key]
		if s == nil || len(rest) < 8 || binary.LittleEndian.Uint64(rest) != uint64(s.elems) {
			return nil, fmt.Errorf("storage %v is missing or of another length", k)
		}
		size := s.elems * s.class.size
		if rest = rest[8:]; len(rest) < size {
			return nil, fmt.Errorf("storage %s is cut off", key)
		}
		s.data, rest = rest[:size], rest[size:]
	}
	return v, nil
}
