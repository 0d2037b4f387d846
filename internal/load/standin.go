package load

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"longlora/internal/data"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/par"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// standFormat is how their tensors are stored.
var standFormat = tensor.Dense(tensor.BF16)

// StandIn are random weights of a shape in bfloat16, in a file in memory that is mapped as a checkpoint's is: for
// measuring without one. Matrices are uniform with a deviation of 0.02, norms such that they only norm, biases zero.
// Unless every layer is to have its own, all have the first one's.
type StandIn struct {
	d     model.Desc
	drawn []model.TensorSpec
	size  int
	bytes []byte
	at    map[string]int // offsets
	anew  map[string]tensor.Format
	lying *lying // what is encoded, by the first tensor's name at the place
}

// standBytes is what one of them takes.
func standBytes(s tensor.Shape) int {
	n, _ := standFormat.Bytes(s)
	return int(n)
}

// NewStandIn says where each tensor is to lie, and how matrices are to be held; Fill makes them.
func NewStandIn(d model.Desc, own bool, weights string) *StandIn {
	s := &StandIn{d: d, at: map[string]int{}, anew: anew(d, weights, model.AllIn(standFormat))}
	one := d
	if !own {
		one.L = 1
	}
	s.drawn = one.Tensors()
	for _, t := range s.drawn {
		s.at[t.Name] = s.size
		s.size += standBytes(t.Shape)
	}
	first := d.LayerTensors(0)
	for l := one.L; l < d.L; l++ {
		for i, t := range d.LayerTensors(l) {
			s.at[t.Name] = s.at[first[i].Name]
		}
	}
	return s
}

// Size is the host memory that they take, in bytes.
func (s *StandIn) Size() int64 { return int64(s.size) }

// Made is the host memory of what is encoded beside.
func (s *StandIn) Made() (n int64) {
	for _, t := range s.drawn {
		if f, ok := s.anew[t.Name]; ok {
			n += ops.Room(f, t.Shape)
		}
	}
	return n
}

// Fill makes the file and draws the weights.
func (s *StandIn) Fill(seed uint64) error {
	fd, err := unix.MemfdCreate("longlora-weights", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("random weights: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Ftruncate(fd, s.Size()); err != nil {
		return fmt.Errorf("random weights: %w", err)
	}
	if s.bytes, err = unix.Mmap(fd, 0, s.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("random weights: %w", err)
	}
	for _, t := range s.drawn {
		v := unsafe.Slice((*uint16)(unsafe.Pointer(&s.bytes[s.at[t.Name]])), t.Shape.Elems())
		switch t.Kind {
		case model.KindNorm:
			for i := range v {
				v[i] = tensor.F32ToBF16(s.d.NormStart())
			}
		case model.KindMatrix: // the file is zero already
			fill(v, key(seed, t.Name))
		}
	}
	return s.encode()
}

// encode makes the matrices that are held in another format.
func (s *StandIn) encode() (err error) {
	if s.lying, err = newLying(s.Made()); err != nil {
		return err
	}
	for _, t := range s.drawn {
		f, ok := s.anew[t.Name]
		if !ok {
			continue
		}
		made := f.Make(t.Shape, s.lying.take)
		quant.Encode(&made, func(dst []float32, lo int) { // which are finite
			tensor.Widen(dst, s.stored(t.Name, t.Shape).Data[2*lo:], tensor.BF16)
		})
		s.lying.by[t.Name] = made
	}
	return nil
}

// stored is a tensor as it was drawn.
func (s *StandIn) stored(name string, shape tensor.Shape) tensor.Stored {
	return tensor.Stored{Format: standFormat, Shape: shape, Data: s.bytes[s.at[name] : s.at[name]+standBytes(shape)]}
}

// fill writes uniform numbers, all cores at once.
func fill(v []uint16, k uint64) {
	const width = 0.02 * 3.4641016 // √12 deviations
	var group par.Group
	n := runtime.GOMAXPROCS(0)
	for w := range n {
		group.Go(func() {
			for i := len(v) * w / n; i < len(v)*(w+1)/n; i++ {
				u := float32(mix(k+uint64(i)*golden)>>40) * 0x1p-24
				v[i] = tensor.F32ToBF16((u - 0.5) * width)
			}
		})
	}
	group.Wait()
}

// Close unmaps the weights.
func (s *StandIn) Close() {
	_ = unix.Munmap(s.bytes)
	s.lying.free()
}

// New makes the model, its LoRA factors fresh.
func (s *StandIn) New(be ops.Backend, tr model.Train, mem model.Memory, seed uint64) (*model.Model, error) {
	shapes, firsts := shapesOf(s.d), map[int]string{}
	for _, t := range s.drawn {
		firsts[s.at[t.Name]] = t.Name
	}
	mem.Format = func(name string) tensor.Format {
		if f, ok := s.anew[name]; ok {
			return f
		}
		return standFormat
	}
	m, err := model.New(be, s.d, tr, func(name string) (tensor.Stored, error) {
		if made, ok := s.lying.by[firsts[s.at[name]]]; ok {
			return made, nil
		}
		return s.stored(name, shapes[name]), nil
	}, mem)
	if err != nil {
		return nil, err
	}
	lora.InitFactors(m.Params, seed)
	return m, nil
}

// RandomRow is one document of n tokens drawn by the seed.
func RandomRow(seed uint64, n, vocab int) data.Row {
	r := data.Row{IDs: make([]int32, n), Docs: []int32{0}}
	for i := range r.IDs {
		r.IDs[i] = int32(mix(seed+uint64(i+1)*golden) % uint64(vocab))
	}
	return r
}
