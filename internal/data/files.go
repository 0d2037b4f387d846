package data

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
)

// kind is how a file holds its documents.
type kind int

// The kinds; each but tokens may be compressed.
const (
	unknown kind = iota
	text         // one document
	lines        // one JSON object a line
	objects      // a JSON array of objects, or objects one after another
	columns      // parquet rows
	tokens       // ids as they are
)

const knownFiles = ".txt, .md, .jsonl, .json, .parquet (each also .gz or .zst) or .bin"

// kindOf reads a file's name: what it holds and how it is compressed ("", ".gz", ".zst").
func kindOf(path string) (k kind, compressed string) {
	name := strings.ToLower(path)
	if ext := filepath.Ext(name); ext == ".gz" || ext == ".zst" {
		name, compressed = strings.TrimSuffix(name, ext), ext
	}
	switch filepath.Ext(name) {
	case ".txt", ".md":
		k = text
	case ".jsonl":
		k = lines
	case ".json":
		k = objects
	case ".parquet":
		k = columns
	case ".bin":
		if compressed == "" {
			k = tokens
		}
	}
	return k, compressed
}

// splitWeight reads PATH:0.3; the number is a weight only when no file has the whole name.
func splitWeight(s string) (path string, weight float64, err error) {
	if _, err := os.Stat(s); err == nil {
		return s, 0, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, nil
	}
	w, err := strconv.ParseFloat(s[i+1:], 64)
	if err != nil {
		return s, 0, nil
	}
	if !(w > 0) || w > 1e6 {
		return "", 0, errs.Usagef("%s: the weight %v is not a positive number", s, w)
	}
	return s[:i], w, nil
}

// listFiles are the files of a path, those of a folder sorted by the bytes of their path relative to it.
// Names that begin with a dot are passed over.
func listFiles(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	root, err := filepath.EvalSymlinks(path) // a walk does not enter a link
	if err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	var rel []string
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != root && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if k, _ := kindOf(p); d.IsDir() || k == unknown || strings.HasSuffix(p, sidecarPath(".bin")) {
			return nil
		}
		r, err := filepath.Rel(root, p)
		rel = append(rel, r)
		return err
	})
	if err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	if len(rel) == 0 {
		return nil, errs.Dataf("%s: the folder holds no %s file", path, knownFiles)
	}
	sort.Strings(rel)
	for i, r := range rel {
		rel[i] = filepath.Join(path, r)
	}
	return rel, nil
}

// file is a data file being read.
type file struct {
	path string
	f    *os.File
	r    io.Reader // decompressed
	stop func()
}

// openFile opens a file and its decompression. read, where it is not nil, counts the bytes taken from the disk.
func openFile(path string, read *atomic.Int64) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = errors.New("a folder where a file is wanted")
	}
	if err == nil && st.Mode().IsRegular() && st.Size() == 0 {
		err = errors.New("the file is empty")
	}
	x := &file{path: path, f: f, r: counted{f, read}, stop: func() {}}
	if err == nil {
		err = x.decompress()
	}
	if err != nil {
		_ = f.Close()
		return nil, x.fault(err)
	}
	return x, nil
}

func (x *file) decompress() error {
	switch _, c := kindOf(x.path); c {
	case ".gz":
		r, err := gzip.NewReader(x.r)
		if err != nil {
			return err
		}
		x.r = r
	case ".zst":
		r, err := zstd.NewReader(x.r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<31))
		if err != nil {
			return err
		}
		x.r, x.stop = r, r.Close
	}
	return nil
}

func (x *file) close() {
	x.stop()
	_ = x.f.Close() // only read
}

// fault is a reading error that names the file; a compressed one that ends early is said to be truncated.
func (x *file) fault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errs.Dataf("%s: the file is truncated (%w); get it again", x.path, err)
	}
	var e *errs.Error
	if errors.As(err, &e) {
		return err
	}
	return errs.Dataf("%s: %w", x.path, err)
}

// counted adds up what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n != nil {
		c.n.Add(int64(n))
	}
	return n, err
}
