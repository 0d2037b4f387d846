package train

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"unsafe"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// save writes the state as a checkpoint of --out, which appears under its name when it is whole, and drops all but the
// last keep.
func (s *setup) save(e *Engine, rec *Record) error {
	dir := rundir.CheckpointDir(s.c.Out, rec.State.Step)
	parent := filepath.Dir(dir)
	if err := os.Mkdir(parent, 0o777); err != nil && !errors.Is(err, fs.ErrExist) { // not --out, should it be gone
		return files.Fault(parent, err)
	}
	tmp, err := files.MakeTemp(dir)
	if err != nil {
		return files.Fault(dir, err)
	}
	if err := s.fill(tmp, e, rec); err != nil {
		_ = os.RemoveAll(tmp) // what stays is swept by the next run
		return err
	}
	if err := files.Place(dir, tmp); err != nil {
		return err
	}
	dirs, err := rundir.Checkpoints(s.c.Out)
	if err != nil {
		return err
	}
	for _, d := range dirs[:max(0, len(dirs)-s.c.Keep)] {
		if err := files.Drop(d); err != nil {
			return err
		}
	}
	return nil
}

// fill writes a checkpoint's files, and last its record, which knows them by their hashes.
func (s *setup) fill(dir string, e *Engine, rec *Record) error {
	if err := s.writeTrained(dir, e, func(string) tensor.DType { return tensor.F32 }); err != nil {
		return err
	}
	var outs []ckpt.Out
	for _, p := range e.Model.Params.List {
		outs = append(outs, e.out("m."+p.Name, p.Moment1, tensor.F32), e.out("v."+p.Name, p.Moment2, tensor.F32))
	}
	if err := ckpt.WriteSafetensors(filepath.Join(dir, rundir.MomentsFile), outs); err != nil {
		return err
	}
	own := *rec
	var err error
	if own.Files, err = files.Folder(dir); err != nil {
		return err
	}
	if err := rundir.Write(dir, &own); err != nil {
		return err
	}
	return files.SyncDir(dir)
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
			if err := e.Model.Params.Read(part, flat.Rows(lo, lo+len(part))); err != nil {
				return err
			}
			for i, v := range part {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					return errs.Numericf("%s: element %d is %v after the update; lower %s. The last good checkpoint is kept", name,
						lo+i, v, cmp.Or(e.Suspects, errs.Option("lr").String()))
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
	f, err := ckpt.OpenSafetensors(filepath.Join(dir, rundir.MomentsFile))
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
		return nil, errs.Dataf("%s: tensor %s is missing or not float32 of shape %v: not a checkpoint of this run", dir, name,
			p.Shape)
	}
	return t.Floats(), nil
}
