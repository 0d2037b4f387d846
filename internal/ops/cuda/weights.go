//go:build cuda

package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// weights are the regions that frozen tensors lie in.
type weights struct {
	regions []unsafe.Pointer
	next    unsafe.Pointer // in the last region
	left    int64
}

// chunk is the least region that is taken: the driver rounds regions up to 2 MiB.
const chunk = 2 << 20

// ReserveWeights takes one region for frozen tensors of n bytes in all, each rounded up to ops.Align. Without
// it every large tensor takes a region of its own.
func (b *Backend) ReserveWeights(n int64) error {
	b.enter()
	defer b.leave()
	return b.weights.grow(n)
}

// FreeWeights gives the memory of all frozen tensors back.
func (b *Backend) FreeWeights() error {
	b.enter()
	defer b.leave()
	b.keep("waiting for the device", b.stream.Synchronize())
	return b.weights.free()
}

func (w *weights) grow(n int64) error {
	p, err := alloc(n, "frozen weights")
	if err != nil {
		return err
	}
	w.regions = append(w.regions, p)
	w.next, w.left = p, n
	return nil
}

func (w *weights) take(n int64) (unsafe.Pointer, error) {
	n = (n + ops.Align - 1) / ops.Align * ops.Align
	if n > w.left {
		if err := w.grow((n + chunk - 1) / chunk * chunk); err != nil {
			return nil, err
		}
	}
	p := w.next
	w.next, w.left = unsafe.Add(p, n), w.left-n
	return p, nil
}

func (w *weights) free() error {
	var err error
	for _, p := range w.regions {
		err = join(err, cu.MemFree(pointer(p)))
	}
	*w = weights{}
	return err
}

// codes is a copy of a matrix of codes on the device, as it is stored.
func (b *Backend) codes(s tensor.Stored) (ops.Weight, error) {
	b.enter()
	defer b.leave()
	w := ops.Weight{Shape: s.Shape, Format: s.Format, Scales: ops.Scales{Offset: s.Scales.Offset}}
	for _, part := range []struct {
		to   *unsafe.Pointer
		from []byte
	}{{&w.P, s.Data}, {&w.Scales.Map, s.Scales.Map}, {&w.Scales.Absmax, s.Scales.Absmax},
		{&w.Scales.NestedMap, s.Scales.NestedMap}, {&w.Scales.NestedAbsmax, s.Scales.NestedAbsmax}} {
		if len(part.from) == 0 {
			continue
		}
		p, err := b.weights.take(int64(len(part.from)))
		if err == nil {
			err = b.send(p, int64(len(part.from)), func(to []byte, lo, hi int64) { copy(to, part.from[lo:hi]) })
		}
		if err != nil {
			return ops.Weight{}, fmt.Errorf("%s: copying a weight of shape %v: %w", b.Name(), s.Shape, err)
		}
		*part.to = p
	}
	return w, nil
}

// Weight implements ops.Backend: a copy on the device, in bfloat16, or of codes.
func (b *Backend) Weight(s tensor.Stored) (ops.Weight, error) {
	if err := s.Check(); err != nil {
		return ops.Weight{}, fmt.Errorf("cuda: %w", err)
	}
	if !s.Format.Dense() {
		return b.codes(s)
	}
	w := ops.Weight{Shape: s.Shape, Format: ops.Held(s.Format, tensor.BF16)}
	n, d := w.Dense().Bytes(), s.Format.Type
	b.enter()
	defer b.leave()
	p, err := b.weights.take(n)
	if err != nil {
		return ops.Weight{}, err
	}
	w.P = p
	ratio := int64(d.Size()) / 2
	err = b.send(p, n, func(to []byte, lo, hi int64) { tensor.Narrow(to, s.Data[lo*ratio:hi*ratio], d) })
	if err != nil {
		return ops.Weight{}, fmt.Errorf("%s: copying a weight of shape %v: %w", b.Name(), s.Shape, err)
	}
	return w, nil
}
