package train

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"unsafe"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// A checkpoint is a folder step-NNNNNN: the trained tensors as an adapter (or, with --tune full, as a Hugging
// Face checkpoint in float32), AdamW's moments, and run.json. It appears under its name only when it is whole.
const (
	checkpointsName = "checkpoints"
	momentsName     = "optimizer.safetensors"
)

var stepName = regexp.MustCompile(`^step-(\d{6,})$`)

// checkpoints lists the folders of an --out by step, the last one last.
func checkpoints(out string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(out, checkpointsName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.Dataf("%w", err)
	}
	var dirs []string
	for _, e := range entries {
		if stepName.MatchString(e.Name()) && e.IsDir() {
			dirs = append(dirs, filepath.Join(out, checkpointsName, e.Name()))
		}
	}
	sort.Slice(dirs, func(i, j int) bool { return stepOf(dirs[i]) < stepOf(dirs[j]) })
	return dirs, nil
}

// stepOf is the step in a checkpoint folder's name.
func stepOf(dir string) int {
	n := 0
	if m := stepName.FindStringSubmatch(filepath.Base(dir)); m != nil {
		_, _ = fmt.Sscan(strings.TrimLeft(m[1], "0"), &n)
	}
	return n
}

// save writes the state as a checkpoint of --out and drops all but the last keep.
func (s *setup) save(e *Engine, rec *Record) error {
	parent := filepath.Join(s.c.Out, checkpointsName)
	if err := ckpt.MakeDir(parent); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".step-*.tmp")
	if err != nil {
		return errs.Dataf("%w", err)
	}
	dir := filepath.Join(parent, fmt.Sprintf("step-%06d", rec.State.Step))
	if err := s.fill(tmp, e, rec); err != nil {
		_ = os.RemoveAll(tmp)
		return err
	}
	if err := replaceDir(dir, tmp); err != nil {
		return err
	}
	dirs, err := checkpoints(s.c.Out)
	if err != nil {
		return err
	}
	for _, d := range dirs[:max(0, len(dirs)-s.c.Keep)] {
		if err := dropDir(d); err != nil {
			return err
		}
	}
	return nil
}

// fill writes a checkpoint's files.
func (s *setup) fill(dir string, e *Engine, rec *Record) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return errs.Dataf("%w", err)
	}
	if err := s.writeTrained(dir, e, func(string) tensor.DType { return tensor.F32 }); err != nil {
		return err
	}
	var outs []ckpt.Out
	for _, p := range e.Model.Params.List {
		outs = append(outs, e.out("m."+p.Name, p.Moment1, tensor.F32), e.out("v."+p.Name, p.Moment2, tensor.F32))
	}
	if err := ckpt.WriteSafetensors(filepath.Join(dir, momentsName), outs); err != nil {
		return err
	}
	if err := rec.write(dir); err != nil {
		return err
	}
	return ckpt.SyncDir(dir)
}

// replaceDir renames a finished folder to its name; an older one there goes away.
func replaceDir(dir, tmp string) error {
	if _, err := os.Stat(dir); err == nil {
		if err := dropDir(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return errs.Dataf("%w", err)
	}
	return ckpt.SyncDir(filepath.Dir(dir))
}

// dropDir removes a folder in a way that never leaves half of it under its name.
func dropDir(dir string) error {
	gone := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".old.tmp")
	if err := os.RemoveAll(gone); err != nil {
		return errs.Dataf("%w", err)
	}
	if err := os.Rename(dir, gone); err != nil {
		return errs.Dataf("%w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return errs.Dataf("%w", err)
	}
	return nil
}

// sweep removes what a killed run left half written.
func sweep(out string) error {
	for _, pattern := range []string{filepath.Join(out, ".*.tmp*"), filepath.Join(out, checkpointsName, ".*.tmp*")} {
		left, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, p := range left {
			if err := os.RemoveAll(p); err != nil {
				return errs.Dataf("%w", err)
			}
		}
	}
	return nil
}

// chunk is how many elements are read from the device at a time.
const chunk = 1 << 18

// out streams a float32 tensor of the backend as type d; a value that is no number is an error of kind Numeric.
func (e *Engine) out(name string, t ops.Tensor, d tensor.DType) ckpt.Out {
	return ckpt.Out{Name: name, DType: d, Shape: t.Shape, Write: func(w io.Writer) error {
		n := t.Elems()
		flat := t.Reshape(n)
		buf := make([]float32, min(n, chunk))
		bw := bufio.NewWriterSize(w, 1<<16)
		for lo := 0; lo < n; lo += chunk {
			part := buf[:min(chunk, n-lo)]
			if err := e.Backend.Download(bytesOf(part), flat.Rows(lo, lo+len(part))); err != nil {
				return err
			}
			for i, v := range part {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					return errs.Numericf("%s: element %d is %v after the update; lower --lr. The last good checkpoint is kept", name, lo+i, v)
				}
			}
			if _, err := bw.Write(encode(part, d)); err != nil {
				return err
			}
		}
		return bw.Flush()
	}}
}

// encode gives floats as bytes of a type.
func encode(v []float32, d tensor.DType) []byte {
	if d == tensor.F32 {
		return bytesOf(v)
	}
	round := tensor.F32ToBF16
	if d == tensor.F16 {
		round = tensor.F32ToF16
	}
	b := make([]byte, 0, 2*len(v))
	for _, x := range v {
		h := round(x)
		b = append(b, byte(h), byte(h>>8))
	}
	return b
}

func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// restore gives the model the trained tensors and moments of a checkpoint.
func (s *setup) restore(e *Engine, dir string) error {
	values, done, err := s.trainedIn(dir)
	if err != nil {
		return err
	}
	defer done()
	f, err := ckpt.OpenSafetensors(filepath.Join(dir, momentsName))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	ps := e.Model.Params
	for _, p := range ps.List {
		v, err := floats(dir, p, values, p.Name)
		if err != nil {
			return err
		}
		m1, err := floats(dir, p, f.Tensors, "m."+p.Name)
		if err != nil {
			return err
		}
		m2, err := floats(dir, p, f.Tensors, "v."+p.Name)
		if err != nil {
			return err
		}
		ps.Set(p, v)
		ps.SetMoments(p, m1, m2)
	}
	return nil
}

// trainedIn opens a checkpoint's trained tensors by the names that the model has for them.
func (s *setup) trainedIn(dir string) (ts map[string]ckpt.Tensor, done func(), err error) {
	if s.c.Tune == "full" {
		m, err := ckpt.OpenModel(dir)
		if err != nil {
			return nil, nil, err
		}
		return m.Tensors, m.Close, nil
	}
	a, err := ckpt.OpenAdapter(dir)
	if err != nil {
		return nil, nil, err
	}
	ts = map[string]ckpt.Tensor{}
	for name, t := range a.Saved {
		ts[name] = t
	}
	for path, pair := range a.LoRA {
		ts[path+".lora_A.weight"], ts[path+".lora_B.weight"] = pair.A, pair.B
	}
	return ts, a.Close, nil
}

// floats are a saved float32 tensor of a parameter's shape.
func floats(dir string, p *model.Param, ts map[string]ckpt.Tensor, name string) ([]float32, error) {
	t, ok := ts[name]
	if !ok || t.DType != tensor.F32 || !t.Shape.Equal(p.Shape) {
		return nil, errs.Dataf("%s: tensor %s is missing or not float32 of shape %v; the checkpoint is damaged, remove it to go on from the one before", dir, name, p.Shape)
	}
	return t.Floats(), nil
}
