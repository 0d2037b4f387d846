package cuda

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"longlora/internal/errs"
)

// library is one that is opened at run time, with where it may be.
type library struct {
	title  string
	names  []string // of the files that the backend works with, newest first
	env    string   // names the file to use, and nothing else is looked at
	wheels []string // its folders in Python's packages
	mend   string   // what installs it
}

var (
	blas = library{title: "cuBLASLt", names: []string{"libcublasLt.so.13", "libcublasLt.so.12"}, env: "LONGLORA_CUBLASLT",
		wheels: []string{"nvidia/cu13/lib", "nvidia/cublas/lib", "torch/lib"},
		mend:   "install the CUDA toolkit, PyTorch or the nvidia-cublas wheel"}
	nccl = library{title: "NCCL", names: []string{"libnccl.so.2"}, env: "LONGLORA_NCCL",
		wheels: []string{"nvidia/nccl/lib", "torch/lib"},
		mend:   "install NCCL, PyTorch or the nvidia-nccl-cu13 wheel"}
)

// A place is somewhere that a library may be.
type place struct {
	where string   // for people
	files []string // what to open there: files that exist, or names for the dynamic linker
}

// places calls f with every place in turn until it returns false: the file that the environment names; the toolkit
// that the environment names; what the dynamic linker knows; toolkits in their usual folder; Python's packages.
func (l library) places(f func(place) bool) {
	if p := os.Getenv(l.env); p != "" {
		f(place{l.env, []string{p}})
		return
	}
	for _, env := range []string{"CUDA_HOME", "CUDA_PATH"} {
		if dir := os.Getenv(env); dir != "" && !f(l.toolkit(dir)) {
			return
		}
	}
	if !f(place{"the dynamic linker's folders and LD_LIBRARY_PATH", l.names}) {
		return
	}
	dirs, _ := filepath.Glob("/usr/local/cuda*")
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) })
	for _, dir := range dirs {
		if !f(l.toolkit(dir)) {
			return
		}
	}
	for _, dir := range pythonPath() {
		var folders []string
		for _, w := range l.wheels {
			folders = append(folders, filepath.Join(dir, w))
		}
		if !f(l.in(folders...)) {
			return
		}
	}
}

func (l library) toolkit(dir string) place {
	return l.in(filepath.Join(dir, "lib64"), filepath.Join(dir, "lib"), filepath.Join(dir, "targets/x86_64-linux/lib"))
}

// in is the place of the given folders.
func (l library) in(dirs ...string) place {
	p := place{where: strings.Join(dirs, ", ")}
	for _, name := range l.names {
		for _, dir := range dirs {
			if file := filepath.Join(dir, name); exists(file) {
				p.files = append(p.files, file)
			}
		}
	}
	return p
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// pythonPath is where python3 finds installed packages, folders named site-packages or dist-packages, the user's own
// too; nothing where there is no python3. It is asked in isolation: no module of the working directory or of PYTHONPATH
// runs.
func pythonPath() []string {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "python3", "-I", "-c", "import site, sys; print('\\n'.join(p for p in sys.path "+
		"+ [site.getusersitepackages()] if p.endswith('-packages')))").Output()
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// BLASPlaces says where cuBLASLt is looked for, in order, and what to open there: files that are there, or names for
// the dynamic linker.
func BLASPlaces() (where []string, files [][]string) { return blas.where() }

// NCCLPlaces says the same of NCCL.
func NCCLPlaces() (where []string, files [][]string) { return nccl.where() }

func (l library) where() (where []string, files [][]string) {
	l.places(func(p place) bool {
		where, files = append(where, p.where), append(files, p.files)
		return true
	})
	return where, files
}

// open opens the library's first file that open takes, and returns that.
func (l library) open(open func(file string) error) (string, error) {
	var tried []string
	file := ""
	l.places(func(p place) bool {
		if len(p.files) == 0 {
			tried = append(tried, p.where+": not there")
		}
		for _, f := range p.files {
			err := open(f)
			if err == nil {
				file = f
				return false
			}
			tried = append(tried, fmt.Sprintf("%s: %v", f, err))
		}
		return true
	})
	if file == "" {
		return "", errs.Usagef("%s (%s) was not found; %s, or name the file in %s. Looked in:\n  %s", l.title,
			strings.Join(l.names, ", "), l.mend, l.env, strings.Join(tried, "\n  "))
	}
	return file, nil
}
