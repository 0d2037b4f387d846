package ckpt

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// Files of torch.save hold the tensors that safetensors wrote of the same dictionary: dense, transposed, cut out,
// spread, of every type, as parameters; in the zip form and in the one before it.
func TestTorchFiles(t *testing.T) {
	ref, err := OpenSafetensors("testdata/torch/ref.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer ref.Close()
	for _, name := range []string{"zip.bin", "legacy.bin"} {
		f, err := openTorch(filepath.Join("testdata/torch", name))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Tensors) != len(ref.Tensors) {
			t.Errorf("%s: %d tensors, want %d", name, len(f.Tensors), len(ref.Tensors))
		}
		for k, want := range ref.Tensors {
			got := f.Tensors[k]
			if got.TypeName() != want.TypeName() || !got.Shape.Equal(want.Shape) || !bytes.Equal(got.Data(), want.Data()) {
				t.Errorf("%s: %s is %v of %s, want %v of %s", name, k, got.Shape, got.TypeName(), want.Shape, want.TypeName())
			}
		}
		f.Close()
	}
	for _, name := range []string{"sd.bin", "sdl.bin"} { // a module's state_dict, which has attributes of its own
		f, err := openTorch(filepath.Join("testdata/torch", name))
		if err != nil {
			t.Fatal(err)
		}
		if w := f.Tensors["weight"]; len(f.Tensors) != 2 || !w.Shape.Equal([]int{3, 4}) {
			t.Errorf("%s: %d tensors, weight %v", name, len(f.Tensors), w.Shape)
		}
		f.Close()
	}
}

func TestTorchRefuses(t *testing.T) {
	dir := t.TempDir()
	whole := testkit.Read(t, "testdata/torch/legacy.bin")
	testkit.Write(t, filepath.Join(dir, "cut.bin"), whole[:len(whole)-3])
	// BINUNICODE8 with a length of 2^60: nothing may be asked for on its word
	huge := append([]byte("\x80\x04\x8d"), 0, 0, 0, 0, 0, 0, 0, 0x10)
	testkit.Write(t, filepath.Join(dir, "huge.bin"), huge)
	for path, want := range map[string]string{
		"testdata/torch/evil.bin":        "nothing in a pickle is run",
		"testdata/torch/evil2.bin":       "nothing in a pickle is run",
		"testdata/torch/evil3.bin":       "nothing in a pickle is run",
		"testdata/torch/evil4.bin":       "neither a zip nor",
		"testdata/torch/module.bin":      "torch.nn.modules.linear.Linear",
		"testdata/torch/list.bin":        "no dictionary",
		"testdata/torch/form-nested.bin": "\"module\" is another dictionary",
		filepath.Join(dir, "cut.bin"):    "cut off",
		filepath.Join(dir, "huge.bin"):   "cut off",
		filepath.Join(dir, "none.bin"):   "no such file",
	} {
		_, err := openTorch(path)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want exit code 4, the path and %q", path, err, want)
		}
	}
}

// The same two tensors come out of every form in which torch.save writes them; what stands beside them is passed over.
func TestTorchForms(t *testing.T) {
	a, b := []float32{0, 1, 2, 3, 4, 5}, []float32{0, 2, 4, 1, 3, 5}
	paths, err := filepath.Glob("testdata/torch/form-*.bin")
	if err != nil || len(paths) != 13 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	others := map[string]int{"beside": 10}
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "form-"), ".bin")
		if name == "nested" {
			continue
		}
		f, err := openTorch(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for key, want := range map[string][]float32{"a": a, "b": b} {
			x := f.Tensors[key]
			if !x.Weight() || !x.Shape.Equal(tensor.Shape{2, 3}) || !slices.Equal(x.Floats(), want) {
				t.Errorf("%s: %s is %v of %s", name, key, x.Shape, x.TypeName())
			}
		}
		if len(f.Others) != others[name] {
			t.Errorf("%s: beside tensors it holds %v", name, f.Others)
		}
		if name == "other-types" {
			for key, kind := range map[string]string{"u16": "U16", "f8": "F8_E4M3", "c": "C64"} {
				if x := f.Tensors[key]; x.TypeName() != kind || x.Weight() || !x.Shape.Equal(tensor.Shape{2}) {
					t.Errorf("%s is %v of %s", key, x.Shape, x.TypeName())
				}
			}
		}
		f.Close()
	}
}

// Elements of a strided tensor come out in the order of the shape, wherever the part begins and ends.
func TestStrided(t *testing.T) {
	raw := make([]byte, 120)
	for i := range raw {
		raw[i] = byte(i)
	}
	x := Tensor{DType: tensor.F16, Shape: tensor.Shape{3, 2, 4}, view: &strided{raw, 2, []int{1, 24, 4}}} // no dense axis
	var want []byte
	for i := range 3 {
		for j := range 2 {
			for k := range 4 {
				at := 2 * (2 + i + 24*j + 4*k)
				want = append(want, raw[at], raw[at+1])
			}
		}
	}
	for lo := range 25 {
		for hi := lo; hi <= 24; hi++ {
			if got := x.Bytes(lo, hi); !bytes.Equal(got, want[2*lo:2*hi]) {
				t.Fatalf("elements %d to %d are %v, want %v", lo, hi, got, want[2*lo:2*hi])
			}
		}
	}
	if got := x.Rows(2); !got.Shape.Equal(tensor.Shape{2, 2, 4}) || !bytes.Equal(got.Data(), want[:32]) {
		t.Errorf("its first two rows are %v of shape %v", got.Data(), got.Shape)
	}
	if scalar := (Tensor{DType: tensor.F16, Shape: tensor.Shape{}, view: &strided{raw, 3, nil}}); !bytes.Equal(scalar.Data(), raw[6:8]) {
		t.Errorf("a scalar is %v", scalar.Data())
	}
}

// zipped is a .bin of the new form with the pickle and the storages given.
func zipped(t testing.TB, pickle string, storages map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name, text string) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("data.pkl", pickle)
	for key, text := range storages {
		add("data/"+key, text)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// view is a pickle's tensor of a storage "0" of n float32.
func view(n, offset, size, stride string) string {
	const class = "ctorch\nFloatStorage\n"
	return "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage" + class + "X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + n + "tQ" + offset + size + stride + "\x89}tR"
}

// Small files that make Python's pickle machine, or one that trusts them, take all memory, all time or the whole stack.
func TestPickleBombs(t *testing.T) {
	const big = 1 << 20
	name := "X\x01\x00\x00\x00a"
	dictOf := func(v string) string { return "\x80\x02}" + name + v + "s." }
	two := "K\x02K\x02\x86" // (2, 2)
	for what, c := range map[string]struct{ pickle, want string }{
		"a list that holds itself, as a persistent id": {"\x80\x02]q\x00h\x00aQ.", "persistent id"},
		"a list that holds itself, as a value":         {"\x80\x02]q\x00h\x00a.", "no dictionary"},
		"a tuple a million deep":                       {"\x80\x02)" + strings.Repeat("\x85", big) + "Q.", "persistent id"},
		"a tuple of 2^64 leaves":                       {"\x80\x02)" + strings.Repeat("q\x00h\x00\x86", 64) + "Q.", "persistent id"},
		"a decimal number of millions of digits":       {"L" + strings.Repeat("9", big) + "L\n.", "more than 256"},
		"a binary number of millions of bytes":         {"\x8b\x00\x00\x10\x00" + strings.Repeat("9", big) + ".", "a number of"},
		"millions of marks":                            {"\x80\x02" + strings.Repeat("(", 3*big) + ".", "steps"},
		"millions of copies":                           {"\x80\x02N" + strings.Repeat("2", big) + ".", "opcode 0x32"},
		"millions in the memo":                         {"\x80\x04N" + strings.Repeat("\x94", 3*big) + ".", "steps"},
		"a length of 2^63":                             {"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "cut off"},
		"a length of 2^64":                             {"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "cut off"},
		"a class of millions of letters":               {"c" + strings.Repeat("a", big) + "\nb\n.", "more than 256"},
		"a class made on the stack":                    {dictOf("\x8c\x05posix\x8c\x06system\x93"), "nothing in a pickle is run"},
		"dictionaries of one list":                     {"\x80\x02]q\x00(" + strings.Repeat("]K\x01aK\x01a", 10000) + "e0" + strings.Repeat("ccollections\nOrderedDict\nh\x00\x85R0", 10000) + "N.", "no dictionary"},
		"it pops what is not there":                    {"\x80\x02" + strings.Repeat("0", 9) + ".", "takes more"},
		"it pops across a mark":                        {"\x80\x02N(0.", "takes more"},
		"a mark that was never set":                    {"\x80\x02Nt.", "takes more"},
		"an empty pickle":                              {"\x80\x02.", "takes more"},
		"a call of a text":                             {dictOf(name + ")R"), "cannot be called"},
		"a view beyond its storage":                    {dictOf(view("K\x04", "K\x01", two, two)), "pass the 4 elements"},
		"a view of more than its storage":              {dictOf(view("K\x04", "K\x00", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "K\x00K\x00\x86")), "save it with .contiguous()"},
		"a shape whose product overflows":              {dictOf(view("K\x04", "K\x00", strings.Repeat("J\x00\x00\x00\x40", 3)+"\x87", "K\x00K\x00K\x00\x87")), "more than once"},
		"negative strides":                             {dictOf(view("K\x04", "K\x03", two, "J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86")), "with strides"},
		"a storage of another length":                  {dictOf(view("K\x05", "K\x00", two, two)), "has 16 bytes"},
		"a storage of 2^62 elements":                   {dictOf(view("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40", "K\x00", two, two)), "persistent id"},
		"a name of two lines":                          {"\x80\x02}X\x03\x00\x00\x00a\nb" + view("K\x04", "K\x00", two, two) + "s.", "no plain text"},
		"a name that is no UTF-8":                      {"\x80\x02}U\x01\xff" + view("K\x04", "K\x00", two, two) + "s.", "no plain text"},
		"a quantised tensor":                           {dictOf("ctorch._utils\n_rebuild_qtensor\n)R"), "qtensor"},
		"a hundred transposed views of one storage":    {"\x80\x02}(" + views(100) + "u.", "hold each other"},
	} {
		f := &File{Path: "x.bin", Tensors: map[string]Tensor{}, mapped: zipped(t, c.pickle, map[string]string{"0": strings.Repeat("abcd", 4), "1": strings.Repeat("abcd", 1<<12)})}
		err := f.parseTorch()
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 {
			t.Errorf("%s: %.500v, want exit code 4 and %q in at most 400 letters", what, err, c.want)
		}
	}
}

// views are n names and transposed tensors (64,64) of the storage "1".
func views(n int) string {
	var b strings.Builder
	v := strings.Replace(view("M\x00\x10", "K\x00", "K@K@\x86", "K\x01K@\x86"), "X\x01\x00\x00\x000", "X\x01\x00\x00\x001", 1)
	for i := range n {
		b.WriteString("X\x04\x00\x00\x00" + fmt.Sprintf("%04d", i) + v)
	}
	return b.String()
}

// A record whose bytes are not those that were written is found out, in the pickle and in a storage; a zip made to be
// unpacked into much more is refused.
func TestTorchDamaged(t *testing.T) {
	pickle := "\x80\x02}X\x01\x00\x00\x00a" + view("K\x04", "K\x00", "K\x02K\x02\x86", "K\x02K\x01\x86") + "s."
	whole := zipped(t, pickle, map[string]string{"0": "abcdefghijklmnop"})
	open := func(b []byte) error {
		return (&File{Path: "x.bin", Tensors: map[string]Tensor{}, mapped: b}).parseTorch()
	}
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"abcdefghijklmnop", "storage"} {
		b := bytes.Clone(whole)
		b[bytes.Index(b, []byte(part))] ^= 1
		if err := open(b); errs.Code(err) != 4 || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("a flipped bit in %q: %v", part, err)
		}
	}
	var deflated bytes.Buffer
	z := zip.NewWriter(&deflated)
	w, err := z.Create("archive/data.pkl")
	if err == nil {
		_, err = w.Write(make([]byte, 1<<24))
	}
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	if err := open(deflated.Bytes()); errs.Code(err) != 4 || !strings.Contains(err.Error(), "is compressed") {
		t.Errorf("a compressed record: %v", err)
	}
	var many bytes.Buffer
	z = zip.NewWriter(&many)
	for range 700 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: strings.Repeat("x", 60000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(many.Bytes()); errs.Code(err) != 4 || !strings.Contains(err.Error(), "directory is longer") {
		t.Errorf("a directory of 42 MB: %v", err)
	}
}

// Pickles alone, which a zip's checksums would hide from a fuzzer.
func FuzzPickle(f *testing.F) {
	pickle := "\x80\x02}X\x01\x00\x00\x00a" + view("K\x04", "K\x00", "K\x02K\x02\x86", "K\x02K\x01\x86") + "s."
	f.Add([]byte(pickle))
	for _, name := range []string{"beside", "ordered", "parameters-with-state", "protocol1", "protocol4", "other-types"} {
		z, err := zip.OpenReader("testdata/torch/form-" + name + ".bin")
		if err != nil {
			f.Fatal(err)
		}
		r, err := z.File[0].Open()
		if err != nil {
			f.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || !strings.HasSuffix(z.File[0].Name, "data.pkl") {
			f.Fatal(z.File[0].Name, err)
		}
		f.Add(b)
		_ = z.Close()
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		known := map[string]*torchStorage{}
		v, _, err := unpickle(b, func(id tuple) (any, error) {
			_, s, err := newStorage(id, known)
			if err == nil && s.elems > 1<<10 {
				err = fmt.Errorf("too long")
			}
			if err == nil {
				s.data = make([]byte, s.elems*s.unit)
			}
			return s, err
		})
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d letters", len(err.Error()))
			}
			return
		}
		x := &File{Path: "x.bin", Tensors: map[string]Tensor{}, mapped: make([]byte, 1<<14)}
		if x.addTorch(v) == nil {
			for n, s := range x.Tensors {
				if s.foreign == "" && len(s.Data()) != s.Shape.Elems()*s.DType.Size() {
					t.Errorf("tensor %q: %d bytes for %v of %s", n, len(s.Data()), s.Shape, s.DType)
				}
			}
		}
	})
}

func FuzzTorch(f *testing.F) {
	for _, name := range []string{"zip", "legacy", "sd", "sdl", "evil2", "evil4"} {
		b, err := os.ReadFile("testdata/torch/" + name + ".bin")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &File{Path: "x.bin", Tensors: map[string]Tensor{}, mapped: b}
		if err := x.parseTorch(); err != nil {
			if errs.Code(err) != 4 {
				t.Errorf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		for n, s := range x.Tensors {
			if s.foreign == "" && len(s.Data()) != s.Shape.Elems()*s.DType.Size() {
				t.Errorf("tensor %q: %d bytes for %v of %s", n, len(s.Data()), s.Shape, s.DType)
			}
		}
	})
}
