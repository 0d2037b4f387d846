package datafile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	strict "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
)

// unpackedMost bounds what an input may unpack to, so that each takes little time.
const unpackedMost = 1 << 20

// drained is what comes out of a data file of these bytes, the first unpackedMost of it.
func drained(t *testing.T, path string, b []byte) ([]byte, error) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	was, err := Look(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(path, was, new(atomic.Int64), 0)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	out, err := io.ReadAll(io.LimitReader(x, unpackedMost))
	if err != nil {
		err = x.Fault(err)
	}
	return out, err
}

// agrees fails unless what was read is what the other reader reads too, or both refuse it.
func agrees(t *testing.T, got []byte, err error, other io.Reader) {
	t.Helper()
	if err != nil && errs.Code(err) != 4 {
		t.Fatalf("exit code %d: %v", errs.Code(err), err)
	}
	if err != nil && len(err.Error()) > 1000 {
		t.Fatalf("a message of %d bytes", len(err.Error()))
	}
	want, wrong := io.ReadAll(io.LimitReader(other, unpackedMost))
	if (err == nil) != (wrong == nil) {
		t.Fatalf("%v, the other reader %v", err, wrong)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, the other reader %d", len(got), len(want))
	}
}

// byMember is what the standard library makes of each member alone, zeros between and behind them passed over, as gzip
// itself and Python's reader do; io.EOF is the end that should be.
func byMember(b []byte) (out []byte, err error) {
	in := bytes.NewReader(b) // of which it reads no more than a member
	for len(out) < unpackedMost {
		if left := bytes.TrimLeft(b[len(b)-in.Len():], "\x00"); len(left) > 0 {
			in = bytes.NewReader(left)
		} else {
			return out, io.EOF
		}
		r, err := gzip.NewReader(in)
		if err != nil {
			return out, errors.Join(gzip.ErrHeader, err)
		}
		r.Multistream(false)
		part, err := io.ReadAll(io.LimitReader(r, unpackedMost))
		if out = append(out, part...); err != nil {
			return out, err
		}
	}
	return out, io.EOF
}

func FuzzGzip(f *testing.F) {
	for _, s := range []string{"", "a", "the cat sat on the mat"} {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(s)); err != nil {
			f.Fatal(err)
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(append(bytes.Clone(b.Bytes()), b.Bytes()...))                                      // of two members
		f.Add(slices.Concat(b.Bytes(), make([]byte, 9), b.Bytes(), make([]byte, 512)))           // padded with zeros
		f.Add(append(bytes.Clone(b.Bytes()), "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname"...)) // ends within the second one's name
	}
	path := filepath.Join(f.TempDir(), "a.parquet.gz") // of a kind whose bytes are not looked at
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || b[0] != 0x1f || b[1] != 0x8b || len(b) > 1<<12 {
			return
		}
		got, err := drained(t, path, b)
		if _, wrong := gzip.NewReader(bytes.NewReader(b)); wrong != nil {
			if err == nil {
				t.Fatalf("read, the other reader: %v", wrong)
			}
			return
		}
		if err != nil && strings.Contains(err.Error(), strict.ErrHeader.Error()) {
			return // reserved flags, which the other reader passes over
		}
		want, wrong := byMember(b)
		agrees(t, got, err, io.MultiReader(bytes.NewReader(want), iotest.ErrReader(wrong)))
	})
}

func FuzzZstd(f *testing.F) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "a", "the cat sat on the mat, the cat sat on the mat"} {
		b := w.EncodeAll([]byte(s), nil)
		f.Add(b)
		f.Add(append(b, b...)) // of two frames
	}
	f.Add(append([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00ab"), w.EncodeAll([]byte("b"), nil)...)) // behind a frame to be skipped
	path := filepath.Join(f.TempDir(), "a.parquet.zst")
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 || len(b) > 1<<12 {
			return
		}
		got, err := drained(t, path, b)
		if err != nil && errs.Code(err) != 4 {
			t.Fatalf("exit code %d: %v", errs.Code(err), err)
		}
		if err != nil {
			return // the other way to decode refuses other damage
		}
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(unpackedMost))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if want, err := r.DecodeAll(b, nil); err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, decoded at once %d", len(got), len(want))
		}
	})
}
