package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// kind is how a file holds its documents.
type kind int

// The kinds; each but tokens may be compressed.
const (
	unknown   kind = iota
	text           // one document
	lines          // one JSON object a line
	objects        // a JSON array of objects, or objects one after another
	columns        // parquet rows
	delimited      // rows of text, cells separated by commas or tabs
	arrow          // rows as Arrow lays them out
	tokens         // ids as they are
)

const knownFiles = ".txt, .md, .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .feather (each also .gz or " +
	".zst) or .bin"

// kindOf reads a file's name: what it holds and how it is compressed ("", ".gz", ".zst").
func kindOf(path string) (k kind, compressed string) {
	name := strings.ToLower(path)
	if ext := filepath.Ext(name); ext == ".gz" || ext == ".zst" {
		name, compressed = strings.TrimSuffix(name, ext), ext
	}
	switch filepath.Ext(name) {
	case ".txt", ".md":
		k = text
	case ".jsonl", ".ndjson":
		k = lines
	case ".json":
		k = objects
	case ".parquet":
		k = columns
	case ".arrow", ".feather":
		k = arrow
	case ".csv", ".tsv":
		k = delimited
	case ".bin":
		if compressed == "" {
			k = tokens
		}
	}
	return k, compressed
}

// structured reports whether a kind holds records with fields.
func (k kind) structured() bool { return k == lines || k == objects || k.table() }

// table reports whether a kind holds rows.
func (k kind) table() bool { return k == columns || k == delimited || k == arrow }

// splitWeight reads PATH:0.3; the number is a weight only when no file has the whole name.
func splitWeight(s string) (path string, weight float64, err error) {
	if _, err := os.Stat(s); err == nil {
		return s, 0, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, nil
	}
	const most = 1_000_000
	w, err := strconv.ParseFloat(s[i+1:], 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // which is a number, one too large
		return s, 0, nil
	}
	if !(w > 0) || w > most {
		return "", 0, errs.Usagef("%s: the weight %s must be above 0 and at most %d", s, s[i+1:], most)
	}
	return s[:i], w, nil
}

// file is a data file being read.
type file struct {
	path  string
	f     *os.File
	was   fs.FileInfo   // the file as it was found, before anything of it was read
	read  *atomic.Int64 // bytes taken from the disk
	r     io.Reader     // decompressed; UTF-8 where the kind is text
	watch utf8Watch     // of what is read as text
	plain bool          // not compressed
	room  int64         // bytes of host memory; 0: as much as it takes
	grown int64         // bytes that came out of it
	stop  func()
}

// look finds a file out before it is read: that it is one, and as it is now. What is opened later must be the same.
func look(path string) (fs.FileInfo, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, files.Fault(path, err)
	}
	return st, nil
}

// same reports whether a file is the one that was looked at, not written to since.
func same(was, is fs.FileInfo) bool {
	return os.SameFile(was, is) && was.Size() == is.Size() && was.ModTime().Equal(is.ModTime())
}

// openFile opens a file and its decompression, for which room bytes of memory are there. read counts the bytes taken
// from the disk.
func openFile(path string, was fs.FileInfo, read *atomic.Int64, room int64) (*file, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	x := &file{path: path, f: f, was: was, read: read, room: room, plain: true, stop: func() {}}
	if err = x.unchanged(); err == nil && was.Size() == 0 {
		err = errors.New("the file is empty; get it again, or take it away")
	}
	if err == nil {
		err = x.decode()
	}
	if err != nil {
		x.close()
		return nil, x.fault(err)
	}
	return x, nil
}

// unchanged refuses a file that was replaced or written to since it was looked at.
func (x *file) unchanged() error {
	st, err := x.f.Stat()
	if err == nil && !same(x.was, st) {
		err = errors.New("the file changed while it was being read; start again when nothing writes to it any more")
	}
	if err != nil {
		return x.fault(err)
	}
	return nil
}

// decode puts decompression, and for text the conversion to UTF-8, between the file and its reader. Compression is
// known by a file's first bytes, so that a file whose name does not tell is read as well.
func (x *file) decode() error {
	k, named := kindOf(x.path)
	br := bufio.NewReaderSize(counted{x.f, x.read}, 1<<16)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	x.r = br
	compressed := compression(head)
	switch {
	case k == tokens:
	case compressed == ".gz":
		r, err := newMembers(br)
		if err != nil {
			return err
		}
		x.r, x.plain = growing{r, x}, false
	case compressed == ".zst":
		r, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(x.window()))
		if err != nil {
			return err
		}
		x.r, x.stop, x.plain = growing{r, x}, r.Close, false
	case named != "":
		return fmt.Errorf("not %s data, which its name says it is; name it without %s if it is not compressed",
			strings.TrimPrefix(named, "."), named)
	}
	if k == tokens || k == columns || k == arrow {
		return nil
	}
	if x.r, err = utf8Reader(x.r); err == nil {
		x.watch.r = x.r
		x.r = &x.watch
	}
	return err
}

// compression tells by a file's first bytes how it is compressed: .gz, .zst, or "" for another way or none.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return ".gz"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), len(head) >= 4 && head[0]&0xf0 == 0x50 &&
		string(head[1:4]) == "\x2a\x4d\x18":
		return ".zst"
	}
	return ""
}

func (x *file) close() {
	x.stop()
	_ = x.f.Close() // only read
}

// fault is a reading error that names the file; a compressed one that ends early is said to be truncated.
func (x *file) fault(err error) error {
	var known *errs.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errs.Dataf("%s: the file is truncated (%w); get it again", x.path, err)
	}
	return files.Fault(x.path, err)
}

// window is the largest window that a zstd stream may have: 128 MiB, which any decoder allows, or a share of the
// memory.
func (x *file) window() uint64 {
	const least, most = 128 << 20, 1 << 31
	if x.room == 0 {
		return most
	}
	return uint64(min(most, max(least, x.room/8)))
}

// What comes out of a file may be at most maxGrowth times what it holds, from growthFrom bytes on. Text compresses to a
// tenth, the most repetitive to a hundredth; what is beyond says nothing, and was made to fill a machine.
const (
	growthFrom = 64 << 20
	maxGrowth  = 500
)

// grow counts n bytes that came out of the file.
func (x *file) grow(n int64) error {
	if x.grown += n; x.grown > growthFrom && x.grown/maxGrowth > x.was.Size() {
		return fmt.Errorf("its %d bytes grow to more than %d MiB, over %d-fold: it is damaged, or made to fill a machine",
			x.was.Size(), x.grown>>20, maxGrowth)
	}
	return nil
}

// growing counts what comes out of a decompressor.
type growing struct {
	r io.Reader
	x *file
}

func (g growing) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if e := g.x.grow(int64(n)); e != nil {
		return n, e
	}
	var disk *fs.PathError
	switch {
	case err == nil, err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &disk):
	case g.x.grown > 0 && (errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch)):
		err = fmt.Errorf("what follows its compressed data is none (%w); take it off, or get the file again", err)
	default:
		err = fmt.Errorf("its compressed data is damaged (%w); get it again", err)
	}
	return n, err
}

// unpacked is what a compressed file holds, as a file without a name.
func (x *file) unpacked() (*os.File, error) {
	f, err := tempFile()
	if err != nil {
		return nil, err
	}
	if _, err = unpackTo(f, x.r); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// unpackTo writes what comes out of a decompressor.
func unpackTo(f *os.File, r io.Reader) (int64, error) {
	n, err := io.Copy(f, r)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("there is no room to unpack it; set TMPDIR to a folder with room: %w", err)
	}
	return n, err
}

// counted adds up what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
