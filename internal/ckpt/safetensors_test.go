package ckpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// file makes a safetensors file of a header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

// Headers within the length that is allowed, which would take a hundred times their length of memory and minutes.
func TestHeaderBombs(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String() + `"z":`
	}
	const empty = `{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`
	for want, head := range map[string]string{
		"more than 65536 keys":        `{"__metadata__":{` + many(maxMetadata, `"%x":"",`) + `""}}`,
		"more than 64 keys":           `{"w":{` + many(maxFields, `"%x":0,`) + `0}}`,
		"shape: more than 64 numbers": `{"w":{"dtype":"F32","shape":[` + strings.Repeat("0,", 1<<20) + `0],"data_offsets":[0,0]}}`,
		"exceeded max depth":          `{"w":{"x":` + strings.Repeat("[", 1<<20) + `}}`,
		"stands twice":                `{"w":{` + strings.Repeat(`"`+strings.Repeat("x", 1<<20)+`":0,`, 2) + `"z":0}}`,
		"plain text of at most":       `{"` + strings.Repeat("x", maxName+1) + `":` + empty + `}`,
		`"a\nb": a tensor's name`:     `{"a\nb":` + empty + `}`,
	} {
		_, _, err := parseSafetensors(file(head, 0))
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.500v, want %q in at most 400 letters", err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	one := func(fields string) string { return `{"w":{` + fields + `}}` }
	length := func(n uint64, rest string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
	}
	for _, c := range []struct {
		name string
		file []byte
		want string // in the message
	}{
		{"no header length", []byte{1, 2, 3}, "too few"},
		{"header of 2^62", length(1<<62, "{}"), "over the limit"},
		{"header just over the limit", length(maxHeader+1, "{}"), "over the limit"},
		{"header past the end", length(100, "{}"), "passes the file's end"},
		{"empty header", file("", 0), "begin with {"},
		{"blank before the header", file(" {}", 0), "begin with {"},
		{"a list", file("[]", 0), "begin with {"},
		{"not UTF-8", file("{\"\xff\":{}}", 0), "UTF-8"},
		{"cut JSON", file(`{"w":{"dtype":"F32"`, 0), "header"},
		{"text after the object", file(`{} x`, 0), "after its object"},
		{"a second object", file(`{}{}`, 0), "after its object"},
		{"duplicate tensor", file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), `"w" stands twice`},
		{"duplicate field", file(one(`"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]`), 4), `"dtype" stands twice`},
		{"null tensor", file(`{"w":null}`, 0), `"w"`},
		{"no dtype", file(one(`"shape":[1],"data_offsets":[0,4]`), 4), "dtype is missing"},
		{"field of another case", file(one(`"DTYPE":"F32","shape":[1],"data_offsets":[0,4]`), 4), "dtype is missing"},
		{"no shape", file(one(`"dtype":"F32","data_offsets":[0,4]`), 4), "shape is missing"},
		{"no offsets", file(one(`"dtype":"F32","shape":[1]`), 4), "data_offsets is missing"},
		{"unknown dtype", file(one(`"dtype":"F99","shape":[1],"data_offsets":[0,4]`), 4), `unknown dtype "F99"`},
		{"dtype a number", file(one(`"dtype":3,"shape":[1],"data_offsets":[0,4]`), 4), "text is wanted"},
		{"negative shape", file(one(`"dtype":"F32","shape":[-1],"data_offsets":[0,4]`), 4), "-1"},
		{"shape of null", file(one(`"dtype":"F32","shape":[null],"data_offsets":[0,0]`), 0), "number is wanted"},
		{"shape of text", file(one(`"dtype":"F32","shape":["1"],"data_offsets":[0,4]`), 4), "number is wanted"},
		{"shape of a fraction", file(one(`"dtype":"F32","shape":[1.0],"data_offsets":[0,4]`), 4), "whole number"},
		{"shape overflows to 0", file(one(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]`), 0), "does not fill"},
		{"shape of 2^62", file(one(`"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]`), 0), "does not fill"},
		{"sub-byte shape overflows", file(one(`"dtype":"F4","shape":[9223372036854775807],"data_offsets":[0,0]`), 0), "does not fill"},
		{"odd sub-byte shape", file(one(`"dtype":"F4","shape":[3],"data_offsets":[0,1]`), 1), "does not fill"},
		{"three offsets", file(one(`"dtype":"F32","shape":[1],"data_offsets":[0,4,8]`), 4), "2 are wanted"},
		{"offsets backwards", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), "overlap or a hole"},
		{"offsets past the data", file(one(`"dtype":"F32","shape":[2],"data_offsets":[0,8]`), 4), "truncated"},
		{"offset of 2^64", file(one(`"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551620]`), 4), "whole number"},
		{"shape smaller than offsets", file(one(`"dtype":"F32","shape":[1],"data_offsets":[0,8]`), 8), "does not fill"},
		{"overlap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `"b"`},
		{"hole", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12), `"b"`},
		{"hole at the beginning", file(one(`"dtype":"F32","shape":[1],"data_offsets":[4,8]`), 8), "overlap or a hole"},
		{"bytes after the last", file(one(`"dtype":"F32","shape":[1],"data_offsets":[0,4]`), 5), "1 bytes after"},
		{"metadata a number", file(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
		{"metadata null", file(`{"__metadata__":{"a":null}}`, 0), "__metadata__"},
		{"metadata a list", file(`{"__metadata__":[]}`, 0), "__metadata__"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.safetensors")
			testkit.Write(t, path, c.file)
			_, err := OpenSafetensors(path)
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want exit code 4, the path and %q", err, c.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		name, header string
		data, want   int
	}{
		{"nothing", `{}`, 0, 0},
		{"padded", `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    `, 4, 1},
		{"scalar and empty", `{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}}`, 4, 2},
		{"fields of other tools", `{"w":{"x":[{}],"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}`, 4, 1},
		{"types that no weight has", `{"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"F4","shape":[2],"data_offsets":[3,4]}}`, 4, 2},
		{"not in the order of offsets", `{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"format":"pt"}}`, 2, 2},
	} {
		ts, _, err := parseSafetensors(file(c.header, c.data))
		if err != nil || len(ts) != c.want {
			t.Errorf("%s: %d tensors, %v; want %d", c.name, len(ts), err, c.want)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(file(`{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, 8))
	f.Add(file(`{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"I64","shape":[0],"data_offsets":[2,2]}}`, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, _, err := parseSafetensors(b)
		if err != nil {
			return
		}
		total := 0
		for n, x := range ts {
			if x.foreign == "" && len(x.Data()) != x.Shape.Elems()*x.DType.Size() {
				t.Errorf("tensor %q: %d bytes for %v of %s", n, len(x.Data()), x.Shape, x.DType)
			}
			total += len(x.Data())
		}
		if total > len(b) {
			t.Errorf("%d bytes of tensors in a file of %d", total, len(b))
		}
	})
}

func sample(name string, d tensor.DType, shape ...int) Out {
	v := make([]float32, tensor.Shape(shape).Elems())
	for i := range v {
		v[i] = float32(i)*0.37 - float32(len(name))
	}
	return Bytes(name, d, shape, AppendFloats(nil, v, d))
}

func TestWriteReads(t *testing.T) {
	dir := t.TempDir()
	in := []Out{sample("z.weight", tensor.F32, 3, 5), sample("a\"\\é", tensor.BF16, 7), sample("scalar", tensor.F16), sample("none", tensor.F32, 0, 4)}
	path := filepath.Join(dir, "x.safetensors")
	if err := WriteSafetensors(path, in); err != nil {
		t.Fatal(err)
	}
	f, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Tensors) != len(in) || f.Metadata["format"] != "pt" {
		t.Fatalf("%d tensors, metadata %v", len(f.Tensors), f.Metadata)
	}
	for _, o := range in {
		var want bytes.Buffer
		if err := o.Write(&want); err != nil {
			t.Fatal(err)
		}
		got := f.Tensors[o.Name]
		if got.DType != o.DType || !got.Shape.Equal(o.Shape) || !bytes.Equal(got.Data(), want.Bytes()) {
			t.Errorf("%s came back as %v of %s", o.Name, got.Shape, got.DType)
		}
	}
	first := testkit.Read(t, path)
	in[0], in[3] = in[3], in[0] // the order of the call is no matter
	if err := WriteSafetensors(path, in); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, testkit.Read(t, path)) {
		t.Error("the same tensors gave other bytes")
	}
}

// A writer that breaks off leaves the file that was there, and no other.
func TestWriteFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	if err := WriteSafetensors(path, []Out{sample("w", tensor.F32, 4)}); err != nil {
		t.Fatal(err)
	}
	before := testkit.Read(t, path)
	short := Out{Name: "w", DType: tensor.F32, Shape: tensor.Shape{4}, Write: func(w io.Writer) error {
		_, err := w.Write(make([]byte, 12))
		return err
	}}
	if err := WriteSafetensors(path, []Out{short}); err == nil || !strings.Contains(err.Error(), "12 bytes") {
		t.Errorf("a short tensor gave %v", err)
	}
	if !bytes.Equal(before, testkit.Read(t, path)) {
		t.Error("the file changed")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the folder holds %v, %v", list, err)
	}
}

func TestWriteSharded(t *testing.T) {
	for _, c := range []struct {
		limit int64
		files []string
	}{
		{1 << 30, []string{"model.safetensors"}},
		{100, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}},
		{1, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"}},
	} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, "config.json"), llama)
		in := []Out{sample("c", tensor.F32, 20), sample("a", tensor.F32, 5), sample("b", tensor.F32, 10)}
		if err := WriteSharded(dir, in, c.limit); err != nil {
			t.Fatal(err)
		}
		var got []string
		list, _ := os.ReadDir(dir)
		for _, e := range list[1:] {
			got = append(got, e.Name())
		}
		if fmt.Sprint(got) != fmt.Sprint(c.files) {
			t.Errorf("limit %d: %v, want %v", c.limit, got, c.files)
		}
		m, err := OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Tensors) != 3 || len(m.Tensors["c"].Data()) != 80 {
			t.Errorf("limit %d: read back %d tensors", c.limit, len(m.Tensors))
		}
		m.Close()
	}
}

func TestConversions(t *testing.T) {
	v := []float32{0, -0.1, 1, 65504, 3e-8, float32(math.Copysign(0, -1))}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		x := Tensor{DType: d, Shape: tensor.Shape{len(v)}, data: AppendFloats(nil, v, d)}
		if again := AppendFloats(nil, x.Floats(), d); !bytes.Equal(again, x.Data()) {
			t.Errorf("%s: values change when read and written", d)
		}
		if i := NotFinite(x.Data(), d); i != -1 {
			t.Errorf("%s: element %d is said to be not finite", d, i)
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if i := NotFinite(AppendFloats(nil, []float32{1, 2, float32(bad)}, d), d); i != 2 {
				t.Errorf("%s: %v found at %d, want 2", d, bad, i)
			}
		}
	}
	if b := AppendFloats(nil, []float32{70000}, tensor.F16); NotFinite(b, tensor.F16) != 0 {
		t.Error("70000 fits a half")
	}
}

// What Release gives back is read from the file again.
func TestRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	const n = 100_000
	if err := WriteSafetensors(path, []Out{sample("a", tensor.F32, 3), sample("b", tensor.F32, n)}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := f.Tensors["b"]
	before := b.Floats()
	for lo := 0; lo < n; lo += 777 {
		b.Release(lo, min(lo+777, n))
	}
	b.Release(0, n)
	b.Release(5, 5)
	after := b.Floats()
	for i := range before {
		if before[i] != after[i] {
			t.Fatalf("element %d was %v and is %v", i, before[i], after[i])
		}
	}
	own := FromFloats("c", tensor.Shape{n}, append([]float32{}, before...))
	own.Release(0, n)
	if own.Floats()[n-1] != before[n-1] {
		t.Error("Release touched memory that is no file's")
	}
}
