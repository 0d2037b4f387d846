package lora

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/par"
	"longlora/internal/proc"
)

// Stream makes the tensors of base + adapter, each a few rows at a time, and keeps count of what it made.
type Stream struct {
	Base    *ckpt.Model
	Adapter *ckpt.Adapter
	Scale   float64 // how much the adapter counts
	Out     string  // what is being written, for messages
	Threads int     // 0: all cores
	// a matrix as it was trained beside, of those in which that may differ from Base; nil: none
	Trained func(s model.TensorSpec) (ckpt.Tensor, error)

	Changed int      // tensors that came out with other bits than the base's
	Same    []string // those of the adapter that did not
	*Distance
	used map[string]bool
}

// Distance says how far the matrices that factors change lie from those that these were trained beside, and how large
// the change itself is: Frobenius norms over all of them together.
type Distance struct {
	Base    float64 `json:"base_distance"`
	Adapter float64 `json:"adapter_size"`
}

// As says how a tensor is written.
type As struct {
	Coding ckpt.Coding
	Row    func(i int) int // which row of the tensor is written as row i; nil: that row
	Times  float32         // what every value is multiplied by; 0: by nothing
	Plus   float32         // what is then added to it
	Option errs.Option     // that chooses the coding
}

// chunk is how many elements a worker converts at a time.
const chunk = 1 << 18

// part makes some rows of one merged tensor.
type part struct {
	As
	base, src ckpt.Tensor // the base's, and the adapter's where it holds the tensor whole
	cols      int
	change    *Change // nil without factors
	factors   ckpt.Factors
	counts    float64 // how much the adapter counts, as it was asked for
	scale     float32
	from      string       // the file of the factors
	compare   bool         // whether it may come out other than the base's
	beside    *ckpt.Tensor // what was trained beside, where that is wanted

	v, old   []float32
	out, was []byte
	changed  bool
	apart    Distance // squared
	err      error
}

// Write streams one tensor: as many parts at a time as there are cores, written in their order.
func (m *Stream) Write(ctx context.Context, w io.Writer, s model.TensorSpec, base ckpt.Tensor, as As) error {
	p, err := m.prepare(s, base, as)
	if err != nil {
		return err
	}
	changed, err := m.stream(ctx, w, p, s.Shape.Elems()/p.cols)
	if err != nil {
		return err
	}
	if changed {
		m.Changed++
	} else if p.compare {
		m.Same = append(m.Same, s.Name)
	}
	return nil
}

// prepare is the part of which those of a tensor are copies: what it is made of, which the adapter's then count as
// used.
func (m *Stream) prepare(s model.TensorSpec, base ckpt.Tensor, as As) (part, error) {
	if m.used == nil {
		m.used = map[string]bool{}
	}
	p := part{As: as, base: base, src: base, cols: s.Shape[len(s.Shape)-1], counts: m.Scale, scale: float32(m.Scale)}
	if as.Row != nil && len(s.Shape) == 1 { // a bias, an element a row
		p.cols = 1
	}
	saved, whole := m.Adapter.Saved[s.Name]
	if whole {
		p.src, m.used[s.Name] = saved, true
	}
	path := strings.TrimSuffix(s.Name, ".weight")
	f, low := m.Adapter.LoRA[path]
	if low {
		m.used[path] = true
		p.factors = f
		f.Scale *= m.Scale
		p.change, p.from = NewChange(f, p.src), f.A.File
	}
	p.compare = whole || low
	if low && m.Trained != nil && s.Linear() {
		t, err := m.Trained(s)
		if err != nil {
			return p, err
		}
		if p.beside = &t; m.Distance == nil {
			m.Distance = &Distance{}
		}
	}
	return p, nil
}

// stream writes rows made by copies of a part, and says whether any came out with other bits than the base's.
func (m *Stream) stream(ctx context.Context, w io.Writer, p part, rows int) (changed bool, err error) {
	threads := m.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	parts := slices.Repeat([]part{p}, threads)
	for r := 0; r < rows; {
		if ctx.Err() != nil {
			return changed, errs.Interruptedf("interrupted; nothing was written to %s", m.Out)
		}
		start, made := r, 0
		if made, r, err = together(parts, r, rows); err != nil {
			return changed, err
		}
		for i := range parts[:made] {
			if err := m.take(w, &parts[i]); err != nil {
				return changed, err
			}
			changed = changed || parts[i].changed
		}
		if p.Row == nil {
			p.release(start, r)
		}
	}
	if p.Row != nil { // rows were taken out of their order
		p.release(0, rows)
	}
	return changed, nil
}

// together makes the next rows from r on, each part some of them and all at a time; next is the row after them.
func together(parts []part, r, rows int) (made, next int, err error) {
	var group par.Group
	step := max(1, chunk/parts[0].cols)
	for ; made < len(parts) && r < rows; made++ {
		q, r0, r1 := &parts[made], r, min(r+step, rows)
		group.Go(func() { q.make(r0, r1) })
		r = r1
	}
	group.Wait()
	return made, r, proc.Broken()
}

// take writes what a part made, and adds to the distance.
func (m *Stream) take(w io.Writer, p *part) error {
	if p.err != nil {
		return p.err
	}
	if p.beside != nil {
		m.Distance.Base, m.Distance.Adapter = m.Distance.Base+p.apart.Base, m.Distance.Adapter+p.apart.Adapter
	}
	_, err := w.Write(p.out)
	return err
}

// release gives back the memory of rows r0 to r1 that were read.
func (p *part) release(r0, r1 int) {
	p.base.Release(r0*p.cols, r1*p.cols)
	p.src.Release(r0*p.cols, r1*p.cols)
}

// make fills out with rows r0 to r1 as they are written, and changed with whether their bits differ from the base's.
func (p *part) make(r0, r1 int) {
	p.err, p.apart = nil, Distance{}
	if !p.compare && p.Row == nil && p.Times == 0 && p.Plus == 0 && p.Coding.Is(p.base.DType) {
		p.out = p.base.Bytes(r0*p.cols, r1*p.cols)
	} else {
		n := (r1 - r0) * p.cols
		p.v, p.old = slices.Grow(p.v[:0], n)[:n], slices.Grow(p.old[:0], n)[:n]
		for r := r0; r < r1; { // runs of rows that lie one after the other
			first, m := p.row(r), 1
			for r+m < r1 && p.row(r+m) == first+m {
				m++
			}
			lo, hi := (r-r0)*p.cols, (r-r0+m)*p.cols
			p.rows(p.v[lo:hi], p.old[lo:hi], first)
			r += m
		}
		p.out = p.Coding.Append(p.out[:0], p.v)
		if p.compare {
			p.was = p.Coding.Append(p.was[:0], p.old)
			p.changed = !bytes.Equal(p.out, p.was)
		}
	}
	if i := p.Coding.NotFinite(p.out); i >= 0 {
		p.err = p.fault(p.row(r0+i/p.cols)*p.cols+i%p.cols, i)
	}
}

// row is the row of the tensor that is written as row i.
func (p *part) row(i int) int {
	if p.Row == nil {
		return i
	}
	return p.Row(i)
}

// rows fills v with rows of the merged tensor from row r on, and old with the base's.
func (p *part) rows(v, old []float32, r int) {
	p.src.Range(v, r*p.cols)
	if p.compare {
		p.base.Range(old, r*p.cols)
		if p.scale != 1 {
			for i, b := range old {
				v[i] = b + float32(p.scale*(v[i]-b))
			}
		}
		if p.change != nil {
			p.change.Rows(v, r, p.cols)
		}
		if p.beside != nil {
			p.measure(v, old, r)
		}
	}
	for _, x := range [][]float32{v, old} { // old is of no use where nothing is compared
		for i := range x {
			if p.Times != 0 {
				x[i] *= p.Times
			}
			if p.Plus != 0 { // a sum with 0 would take the sign off -0
				x[i] += p.Plus
			}
		}
	}
}

// measure adds up how far rows from row r on, before and after the change, lie from each other and from what was
// trained beside.
func (p *part) measure(v, old []float32, r int) {
	trained := make([]float32, len(v))
	p.beside.Range(trained, r*p.cols)
	for i, x := range old {
		apart, change := float64(x)-float64(trained[i]), float64(v[i])-float64(x)
		p.apart.Base += apart * apart
		p.apart.Adapter += change * change
	}
}

// fault says why element at of the tensor, the i-th of what is in hand, is not finite.
func (p *part) fault(at, i int) error {
	where := fmt.Sprintf("element %d of tensor %s", at, p.base.Name)
	var made float32
	if len(p.v) > i {
		made = p.v[i]
	}
	switch {
	case ckpt.NotFinite(p.src.Bytes(at, at+1), p.src.DType) == 0:
		return errs.Numericf("%s: %s is NaN or infinite; a checkpoint with such a weight is broken", p.src.File, where)
	case p.compare && math.Abs(p.counts) > 1 && p.fits(at/p.cols) &&
		(p.change == nil || finite(p.factors.A) && finite(p.factors.B)):
		return errs.Numericf("%s becomes %v with %s %g, too large for the type of the written weights; give a smaller one",
			where, made, errs.Option("scale"), p.counts)
	case p.change != nil && made-made != 0:
		return errs.Numericf("%s: %s becomes NaN or infinite with the adapter's factors; the adapter is broken",
			p.from, where)
	}
	return errs.Numericf("%s: %s is %v, too large for the type of the written weights; use another %s", p.src.File,
		where, made, p.Option)
}

// fits reports whether a row can be written as it is, before the adapter counts.
func (p *part) fits(row int) bool {
	x := make([]float32, p.cols)
	p.src.Range(x, row*p.cols)
	return p.Coding.NotFinite(p.Coding.Append(nil, x)) < 0
}

// finite reports whether a tensor has no element that is NaN or infinite.
func finite(t ckpt.Tensor) bool { return ckpt.NotFinite(t.Bytes(0, t.Shape.Elems()), t.DType) < 0 }

// Unused names an adapter tensor that had no place.
func (m *Stream) Unused() error {
	for path, p := range m.Adapter.LoRA {
		if !m.used[path] {
			return errs.Dataf("%s: the factors of %s were not used: the adapter is of another model", p.A.File, path)
		}
	}
	for name, t := range m.Adapter.Saved {
		if !m.used[name] {
			return errs.Dataf("%s: tensor %s was not used: the adapter is of another model", t.File, name)
		}
	}
	return nil
}
