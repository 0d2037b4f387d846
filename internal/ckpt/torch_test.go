package ckpt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
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
		f, err := OpenTorch(filepath.Join("testdata/torch", name))
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
		f, err := OpenTorch(filepath.Join("testdata/torch", name))
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
	whole, err := os.ReadFile("testdata/torch/legacy.bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cut.bin"), whole[:len(whole)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	// BINUNICODE8 with a length of 2^60: nothing may be asked for on its word
	huge := append([]byte("\x80\x04\x8d"), 0, 0, 0, 0, 0, 0, 0, 0x10)
	if err := os.WriteFile(filepath.Join(dir, "huge.bin"), huge, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testdata/torch/evil.bin":      "nothing in a pickle is run",
		"testdata/torch/evil2.bin":     "nothing in a pickle is run",
		"testdata/torch/evil3.bin":     "nothing in a pickle is run",
		"testdata/torch/evil4.bin":     "nothing in a pickle is run",
		"testdata/torch/module.bin":    "torch.nn.modules.linear.Linear",
		"testdata/torch/list.bin":      "no dictionary",
		"testdata/torch/mixed.bin":     "entry n",
		filepath.Join(dir, "cut.bin"):  "cut off",
		filepath.Join(dir, "huge.bin"): "cut off",
		filepath.Join(dir, "none.bin"): "no such file",
	} {
		_, err := OpenTorch(path)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want exit code 4, the path and %q", path, err, want)
		}
	}
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
