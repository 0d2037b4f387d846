package ckpt

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"longlora/internal/errs"
)

// openTorch maps a file that torch.save wrote, in its zip form or the one before it, and gives the dictionary of
// tensors that it holds. Nothing in its pickles is executed. Elements stay where they are in the file.
func openTorch(path string) (*File, error) {
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
		return errs.Dataf("%s: not a PyTorch file of plain tensors: %w; %s", f.Path, err, mend(f.Path, f.mapped,
			"fetch it again, or convert it to safetensors"))
	}
	return f.addTorch(v)
}

// addTorch adds the tensors of the dictionary v. What else stands at its top, a count of steps say, is passed over.
func (f *File) addTorch(v any) error {
	d, ok := v.(*dict)
	if !ok {
		return errs.Dataf("%s: is no dictionary of tensors", f.Path)
	}
	strided, inside := 0, ""
	for i, v := range d.values {
		key, named := d.keys[i].(str)
		t, isTensor := v.(*torchTensor)
		named = named && plainName(string(key[:min(len(key), maxName+1)]))
		if isTensor && !named {
			return errs.Dataf("%s: a tensor whose name is no plain text of at most %d bytes", f.Path, maxName)
		}
		if !isTensor {
			if named {
				f.Others = append(f.Others, string(key))
				if _, nested := v.(*dict); nested {
					inside = string(key)
				}
			}
			continue
		}
		c, err := t.tensor(string(key), f.Path)
		if err != nil {
			return errs.Dataf("%s: tensor %s: %w", f.Path, key, err)
		}
		if c.view != nil {
			strided += c.Shape.Elems() * c.DType.Size()
		}
		if strided > 2*len(f.mapped) { // what is gathered is copied, so it may not be many times what the file holds
			return errs.Dataf("%s: its tensors are views that hold each other's elements; save contiguous copies of them",
				f.Path)
		}
		f.Tensors[string(key)] = c
	}
	if len(f.Tensors) == 0 && inside != "" {
		return errs.Dataf("%s: no tensors at its top, where %q is another dictionary: a training checkpoint; save the "+
			"weights in it alone, as safetensors or with torch.save", f.Path, inside)
	}
	return nil
}

// maxName is the longest name of a tensor in bytes.
const maxName = 1024

// plainName reports whether a tensor's name can be shown as it is.
func plainName(s string) bool {
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// maxDirectory is how much of a zip its directory may take: a hundred bytes a tensor.
const maxDirectory = 32 << 20

// limited reads no more than a number of bytes.
type limited struct {
	r    io.ReaderAt
	left int
}

func (l *limited) ReadAt(p []byte, at int64) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("its directory is longer than that of any checkpoint")
	}
	return l.r.ReadAt(p, at)
}

// readTorchZip reads the form of PyTorch 1.6 and later: a zip of NAME/data.pkl and, uncompressed, NAME/data/KEY.
func readTorchZip(m []byte) (any, error) {
	lim := &limited{bytes.NewReader(m), maxDirectory}
	z, err := zip.NewReader(lim, int64(len(m)))
	if errors.Is(err, zip.ErrFormat) {
		return nil, fmt.Errorf("a zip without a sound directory at its end: it is cut off or damaged")
	}
	if err != nil {
		return nil, err
	}
	lim.left = math.MaxInt // the entries' own heads, one for each
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
		return nil, fmt.Errorf("its numbers are not little endian")
	}
	data, err := record(m, records, root+"/data.pkl")
	if err != nil {
		return nil, err
	}
	if err := checkSums([]summed{{records[root+"/data.pkl"], data}}); err != nil {
		return nil, err
	}
	var all []summed
	known, total := map[string]*torchStorage{}, 0
	v, _, err := unpickle(data, func(id tuple) (any, error) {
		key, s, err := newStorage(id, known)
		if err != nil || s.data != nil {
			return s, err
		}
		name := root + "/data/" + key
		if s.data, err = record(m, records, name); err != nil {
			return nil, err
		}
		if len(s.data) != s.elems*s.unit {
			return nil, fmt.Errorf("storage %q has %d bytes, %d elements of %s are wanted", key, len(s.data), s.elems, s.class)
		}
		if total += len(s.data); total > len(m) {
			return nil, fmt.Errorf("its records lie in each other")
		}
		all = append(all, summed{records[name], s.data})
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return v, checkSums(all)
}

// record is the content of a stored, uncompressed entry of the zip mapped at m.
func record(m []byte, records map[string]*zip.File, name string) ([]byte, error) {
	r, ok := records[name]
	if !ok {
		return nil, fmt.Errorf("record %q is missing in it", name)
	}
	off, err := r.DataOffset()
	if err != nil {
		return nil, err
	}
	if r.Method != zip.Store {
		return nil, fmt.Errorf("record %q is compressed", name)
	}
	if off > int64(len(m)) || r.UncompressedSize64 > uint64(int64(len(m))-off) {
		return nil, fmt.Errorf("record %q is cut off", name)
	}
	return m[off : off+int64(r.UncompressedSize64)], nil
}

// summed is a record of a zip and its content.
type summed struct {
	r    *zip.File
	data []byte
}

// checkSums compares contents with the checksums that the zip has of them, on all cores. A checksum of 0 is none:
// PyTorch can be told to leave them out (torch.serialization.set_crc32_options).
func checkSums(all []summed) error {
	const part = 1 << 24
	bad := make([]error, len(all))
	next := atomic.Int64{}
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
				s, sum := all[i], uint32(0)
				if s.r.CRC32 == 0 {
					continue
				}
				for b := s.data; len(b) > 0; b = b[min(part, len(b)):] {
					sum = crc32.Update(sum, crc32.IEEETable, b[:min(part, len(b))])
				}
				if sum != s.r.CRC32 {
					bad[i] = fmt.Errorf("record %q is damaged: its checksum is %08x, not %08x", s.r.Name, sum, s.r.CRC32)
				}
			}
		})
	}
	group.Wait()
	for _, err := range bad {
		if err != nil {
			return err
		}
	}
	return nil
}

// legacyMagic is the number that files of the old form begin with, 0x1950a86a20f9469cfc6c, and legacyVersion the only
// version there was.
var legacyMagic = []byte{0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}

const legacyVersion = 1001

// readTorchLegacy reads the form before PyTorch 1.6: pickles of a magic number, a version, the system, the object
// and the storages' keys, then each storage as a count and its elements.
func readTorchLegacy(m []byte) (any, error) {
	none := func(tuple) (any, error) { return nil, fmt.Errorf("a storage in the file's head") }
	magic, rest, err := unpickle(m, none)
	if n, ok := magic.(long); err == nil && (!ok || !bytes.Equal(n, legacyMagic)) || !bytes.HasPrefix(m, []byte{0x80}) {
		return nil, fmt.Errorf("it begins with neither a zip nor PyTorch's magic number")
	}
	if err != nil {
		return nil, err
	}
	version, rest, err := unpickle(rest, none)
	if err != nil {
		return nil, err
	}
	if n, ok := version.(int); !ok || n != legacyVersion {
		return nil, fmt.Errorf("its version is not %d", legacyVersion)
	}
	if _, rest, err = unpickle(rest, none); err != nil {
		return nil, err
	}
	known := map[string]*torchStorage{}
	v, rest, err := unpickle(rest, func(id tuple) (any, error) {
		_, s, err := newStorage(id, known)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	keys, rest, err := unpickle(rest, none)
	if err != nil {
		return nil, err
	}
	l, ok := keys.(*list)
	if !ok || len(l.items) != len(known) {
		return nil, fmt.Errorf("its list of storages does not match its tensors")
	}
	for _, k := range l.items {
		key, _ := k.(str)
		s := known[string(key)]
		if s == nil || s.data != nil || len(rest) < 8 || binary.LittleEndian.Uint64(rest) != uint64(s.elems) {
			return nil, fmt.Errorf("a storage is missing, there twice or of another length")
		}
		size := s.elems * s.unit
		if rest = rest[8:]; len(rest) < size {
			return nil, fmt.Errorf("storage %q is cut off", key)
		}
		s.data, rest = rest[:size:size], rest[size:]
	}
	return v, nil
}
