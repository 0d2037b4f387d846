package data

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	x, err := opened(t, path)
	if err != nil {
		return nil, err
	}
	defer x.close()
	out, err := io.ReadAll(io.LimitReader(x.r, unpackedMost))
	if err != nil {
		err = x.fault(err)
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
		f.Add(append(bytes.Clone(b.Bytes()), "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname"...)) // ends within the second one's name
	}
	path := filepath.Join(f.TempDir(), "a.parquet.gz") // of a kind whose bytes are not looked at
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || b[0] != 0x1f || b[1] != 0x8b || len(b) > 1<<12 {
			return
		}
		got, err := drained(t, path, b)
		r, wrong := gzip.NewReader(bytes.NewReader(b))
		if wrong != nil {
			if err == nil {
				t.Fatalf("read, the other reader: %v", wrong)
			}
			return
		}
		if err != nil && strings.Contains(err.Error(), strict.ErrHeader.Error()) {
			return // reserved flags, which the other reader passes over
		}
		agrees(t, got, err, r)
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

// FuzzPrepared opens a prepared file whose sidecar and index are the input's; hashes are set right, so that what lies
// behind them is reached. What is accepted covers the file of ids, document after document.
func FuzzPrepared(f *testing.F) {
	dir := f.TempDir()
	bin := filepath.Join(dir, "a.bin")
	ids := make([]byte, 2*24)
	for i := range ids {
		ids[i] = byte(i % 2) // ids below 512
	}
	index := func(count int, spans uint64, examples bool, rest ...uint32) []byte {
		b := indexHead(count, spans, examples)
		for _, v := range rest {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	f.Add([]byte(`{"longlora":"prepared tokens 2","format":"text","bytes_per_id":2,"documents":2,"tokens":24,"files":[{"name":"a","size":3,"sha256":"x"}],"source":"/nowhere"}`),
		index(2, 0, false, 10, 0, 24, 0))
	f.Add([]byte(`{"longlora":"prepared tokens 2","format":"chat","bytes_per_id":2,"documents":2,"tokens":24,"max_id":9}`),
		index(2, 3, true, 10, 0, 1, 0, 0, 10, 0, 1, 24, 0, 3, 0, 2, 14, 0, 2, 3, 7, 0, 4, 8, 14))
	f.Add([]byte(`{"longlora":"prepared tokens 2","bytes_per_id":2,"documents":1,"tokens":-9223372036854775784}`), index(1, 0, false, 24, 1<<31))
	f.Fuzz(func(t *testing.T, side, idx []byte) {
		if len(side)+len(idx) > 1<<13 {
			return
		}
		put := func(path string, b []byte) {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put(bin, ids)
		put(indexPath(bin), idx)
		put(sidecarPath(bin), side)
		c, err := readSidecar(bin)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		if again, err := json.Marshal(c); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		} else {
			d := new(sidecar)
			if err := json.Unmarshal(again, d); err != nil {
				t.Fatal(err)
			}
			if b, err := json.Marshal(d); err != nil || !bytes.Equal(b, again) {
				t.Fatalf("%s, written again %s, %v", again, b, err)
			}
		}
		sum := sha256.Sum256(ids)
		c.Bin.Size, c.Bin.SHA256 = int64(len(ids)), hex.EncodeToString(sum[:])
		sum = sha256.Sum256(idx)
		c.Index.SHA256 = hex.EncodeToString(sum[:])
		s, err := openPrepared(bin, c, 512)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		defer s.close()
		at := int64(0)
		for d := range s.count {
			end := s.end(d)
			if end < at {
				t.Fatalf("document %d ends at %d, behind %d", d, end, at)
			}
			if n := int(end - at); s.examples {
				x := s.example(d)
				if x.n != n || x.trim.lo < 0 || x.trim.hi > n {
					t.Fatalf("document %d of %d tokens: %+v", d, n, x)
				}
				for _, a := range x.answers {
					if a.lo < 0 || a.lo > a.hi || a.hi > n {
						t.Fatalf("document %d of %d tokens: %+v", d, n, x)
					}
				}
			}
			at = end
		}
		if at != 24 || len(s.read(nil, 0, at)) != 24 {
			t.Fatalf("documents of %d tokens, of 24", at)
		}
	})
}
