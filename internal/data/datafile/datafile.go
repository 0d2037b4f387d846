// Package datafile opens data files: it tells by the name what a file holds, takes its compression off, turns text into
// UTF-8, bounds what may come out of it, and says of every fault which file has it.
package datafile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"longlora/internal/data/plaintext"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// File is a data file that is open for reading: from its beginning by Read, or, by Anywhere, from any place on.
type File struct {
	Path  string
	f     *os.File
	was   fs.FileInfo     // the file as it was found, before anything of it was read
	read  *atomic.Int64   // bytes taken from the disk
	r     io.Reader       // decompressed; UTF-8 where the kind is text
	Watch plaintext.Watch // of what is read as text
	plain bool            // not compressed
	room  int64           // bytes of host memory; 0: as much as it takes
	grown int64           // bytes that came out of it
	stop  func()
}

// Look finds a file out before it is read: that it is one, and as it is now. Open, later, refuses one that is not the
// same any more.
func Look(path string) (fs.FileInfo, error) {
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

// Open opens a file that is as Look found it, was, and its decompression, for which room bytes of memory are there (0:
// as much as it takes). read counts the bytes taken from the disk. An error is a data error that names the file and the
// mend: it is empty, has changed, is compressed otherwise than its name says, or of a kind that is text and is none.
func Open(path string, was fs.FileInfo, read *atomic.Int64, room int64) (*File, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	x := &File{Path: path, f: f, was: was, read: read, room: room, plain: true, stop: func() {}}
	if err = x.Unchanged(); err == nil && was.Size() == 0 {
		err = errors.New("the file is empty; get it again, or take it away")
	}
	if err == nil {
		err = x.decode()
	}
	if err != nil {
		x.Close()
		return nil, x.Fault(err)
	}
	return x, nil
}

// Size is the length of the file as it lies on the disk, in bytes.
func (x *File) Size() int64 { return x.was.Size() }

// Unchanged refuses a file that was replaced or written to since it was looked at.
func (x *File) Unchanged() error {
	st, err := x.f.Stat()
	if err == nil && !same(x.was, st) {
		err = errors.New("the file changed while it was being read; start again when nothing writes to it any more")
	}
	if err != nil {
		return x.Fault(err)
	}
	return nil
}

// decode puts decompression, and for text the conversion to UTF-8, between the file and its reader. Compression is
// known by a file's first bytes, so that a file whose name does not tell is read as well.
func (x *File) decode() error {
	k, named := KindOf(x.Path)
	br := bufio.NewReaderSize(counted{x.f, x.read}, 1<<16)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	x.r = br
	compressed := compression(head)
	switch {
	case k == Tokens:
	case compressed == ".gz":
		r, err := newMembers(br)
		if err != nil {
			return err
		}
		x.r, x.plain = growing{r, x}, false
	case compressed == ".zst":
		r, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(x.Window()))
		if err != nil {
			return err
		}
		x.r, x.stop, x.plain = growing{r, x}, r.Close, false
	case named != "":
		return fmt.Errorf("not %s data, which its name says it is; name it without %s if it is not compressed",
			strings.TrimPrefix(named, "."), named)
	}
	if k == Tokens || k == Parquet || k == Arrow {
		return nil
	}
	if x.r, err = plaintext.Reader(x.r); err == nil {
		x.Watch.R = x.r
		x.r = &x.Watch
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

// Read reads what the file holds, decompressed, and in UTF-8 where it is of a kind that is text.
func (x *File) Read(p []byte) (int, error) { return x.r.Read(p) }

// Close closes the file; none of its errors can matter, as it was only read.
func (x *File) Close() {
	x.stop()
	_ = x.f.Close() // only read
}

// Fault makes an error that was met while reading, or in what was read, a data error that names the file; a file that
// ends early is said to be truncated. An error that has a kind already stays as it is.
func (x *File) Fault(err error) error {
	var known *errs.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errs.Dataf("%s: the file is truncated (%w); get it again", x.Path, err)
	}
	return files.Fault(x.Path, err)
}

// Window is the largest window that a zstd stream may have: 128 MiB, which any decoder allows, or a share of the
// memory.
func (x *File) Window() uint64 {
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
	MaxGrowth  = 500
)

// Grow counts n bytes that came out of the file where Read does not: what a format's own compression held. It is an
// error once that is more than MaxGrowth times what the file has.
func (x *File) Grow(n int64) error {
	if x.grown += n; x.grown > growthFrom && x.grown/MaxGrowth > x.was.Size() {
		return fmt.Errorf("its %d bytes grow to more than %d MiB, over %d-fold: it is damaged, or made to fill "+
			"a machine", x.was.Size(), x.grown>>20, MaxGrowth)
	}
	return nil
}

// growing counts what comes out of a decompressor.
type growing struct {
	r io.Reader
	x *File
}

func (g growing) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if e := g.x.Grow(int64(n)); e != nil {
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

// ReadText is the whole of a plain text of at most limit bytes: UTF-8, or UTF-16 with a mark, compressed or not. Bytes
// that are no UTF-8 are replaced as training does; then note says so. Files of records are refused, and longer ones.
func ReadText(path string, limit int64) (text, note string, err error) {
	if k, _ := KindOf(path); k == Tokens || k.Structured() {
		return "", "", errs.Dataf("%s: by its name no plain text; give a file of text alone", path)
	}
	was, err := Look(path)
	if err != nil {
		return "", "", err
	}
	f, err := Open(path, was, new(atomic.Int64), 0)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	if text, note, err = plaintext.Whole(f, limit); err != nil {
		return "", "", f.Fault(err)
	}
	return text, note, nil
}
