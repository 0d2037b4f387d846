package cuda

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// touch makes an empty file and its folders.
func touch(t *testing.T, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, p, "")
	return p
}

// tries are the files that are opened when it may take only the given one.
func tries(take string) (tried []string, file string, err error) {
	file, err = blas.open(func(f string) error {
		tried = append(tried, f)
		if f != take {
			return errors.New("not this one")
		}
		return nil
	})
	return tried, file, err
}

func TestWhereBLASIsLookedFor(t *testing.T) {
	dir := t.TempDir()
	home := touch(t, dir, "toolkit/lib64/libcublasLt.so.12")
	newer := touch(t, dir, "toolkit/targets/x86_64-linux/lib/libcublasLt.so.13")
	wheel := touch(t, dir, "site packages/nvidia/cu13/lib/libcublasLt.so.13")
	python := touch(t, dir, "bin/python3")
	script := "#!/bin/sh\n[ $1 = -I ] && echo '" + filepath.Join(dir, "site packages") + "'\n"
	if err := errors.Join(os.WriteFile(python, []byte(script), 0o755), os.Chmod(python, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(python)+":"+os.Getenv("PATH"))
	t.Setenv("CUDA_PATH", "")
	t.Setenv(blas.env, "")

	t.Setenv("CUDA_HOME", filepath.Join(dir, "toolkit"))
	if tried, file, err := tries(home); err != nil || file != home || len(tried) != 2 || tried[0] != newer {
		t.Errorf("with CUDA_HOME: took %q of %q, %v", file, tried, err)
	}
	if _, file, err := tries("libcublasLt.so.12"); err != nil || file != "libcublasLt.so.12" {
		t.Errorf("the dynamic linker was not asked: %q, %v", file, err)
	}
	if _, file, err := tries(wheel); err != nil || file != wheel {
		t.Errorf("in Python's packages: took %q, %v", file, err)
	}
	_, _, err := tries("nothing")
	if errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), blas.env) || !strings.Contains(err.Error(), home[:len(home)-len("/lib64/libcublasLt.so.12")]) {
		t.Errorf("none found: %v", err)
	}
	where, files := BLASPlaces()
	if places := strings.Join(where, "\n"); !strings.Contains(places, "LD_LIBRARY_PATH") || !strings.Contains(places, "site packages") {
		t.Errorf("places: %s", places)
	}
	if len(files) != len(where) || len(files[0]) != 2 || files[0][1] != home {
		t.Errorf("with CUDA_HOME: files %q", files)
	}

	t.Setenv(blas.env, wheel)
	if tried, file, _ := tries(wheel); file != wheel || len(tried) != 1 {
		t.Errorf("with %s: took %q of %q", blas.env, file, tried)
	}
	if tried, _, err := tries("nothing"); err == nil || len(tried) != 1 {
		t.Errorf("with %s naming a bad file: tried %q, %v", blas.env, tried, err)
	}
}
