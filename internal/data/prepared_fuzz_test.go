package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/data/store"
	"longlora/internal/errs"
)

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
		b := []byte("LLINDEX1")
		kind := uint64(0)
		if examples {
			kind = 1
		}
		for _, v := range []uint64{uint64(count), spans, kind} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
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
		put(datafile.IndexPath(bin), idx)
		put(datafile.SidecarPath(bin), side)
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
		s, err := store.OpenPrepared(bin, c.prepared(), 512)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		defer s.Close()
		at := int64(0)
		for d := range s.Count {
			end := s.End(d)
			if end < at {
				t.Fatalf("document %d ends at %d, behind %d", d, end, at)
			}
			if n := int(end - at); s.Examples {
				x := s.Example(d)
				if x.N != n || x.Trim.Lo < 0 || x.Trim.Hi > n {
					t.Fatalf("document %d of %d tokens: %+v", d, n, x)
				}
				for _, a := range x.Answers {
					if a.Lo < 0 || a.Lo > a.Hi || a.Hi > n {
						t.Fatalf("document %d of %d tokens: %+v", d, n, x)
					}
				}
			}
			at = end
		}
		if at != 24 || len(s.Read(nil, 0, at)) != 24 {
			t.Fatalf("documents of %d tokens, of 24", at)
		}
	})
}
