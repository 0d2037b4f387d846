package ops

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"longlora/internal/tensor"
)

// in is an arena in the test's own memory.
func in(space Space, size int64) *Arena {
	mem := make([]byte, size+Align)
	at := (Align - uintptr(unsafe.Pointer(&mem[0]))%Align) % Align
	return &Arena{Name: "test", Space: space, base: unsafe.Pointer(&mem[at]), size: size}
}

// A weight that waits holds what was stored, in the format that the device holds; copied as one piece of memory it is the
// same weight elsewhere.
func TestWaitingWeight(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int64) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	nf4 := func(nested int) tensor.Format {
		return tensor.Format{Type: tensor.BF16, Code: tensor.NF4, Block: 64, Nested: nested}
	}
	large := tensor.Shape{3000, 1024} // in several pieces
	for _, c := range []struct {
		f   tensor.Format
		act tensor.DType
		s   tensor.Shape
	}{{tensor.Dense(tensor.BF16), tensor.BF16, large}, {tensor.Dense(tensor.F16), tensor.BF16, large}, {tensor.Dense(tensor.F32), tensor.BF16, large},
		{tensor.Dense(tensor.F16), tensor.F32, large}, {nf4(0), tensor.BF16, tensor.Shape{40, 64}}, {nf4(256), tensor.BF16, tensor.Shape{300, 64}},
		{tensor.Format{Type: tensor.BF16, Code: tensor.FP8}, tensor.BF16, tensor.Shape{30, 70}}} {
		p, _ := c.f.Parts(c.s)
		s := tensor.Stored{Format: c.f, Shape: c.s, Data: random(p.Data), Scales: tensor.Scales{Map: random(p.Map), Absmax: random(p.Absmax),
			NestedMap: random(p.NestedMap), NestedAbsmax: random(p.NestedAbsmax), Offset: 0.25}}
		held := Held(c.f, c.act)
		want := s
		if want.Format = held; held != c.f {
			want.Data = nil
			for i := range c.s.Elems() {
				v := float32(0)
				if c.f.Type == tensor.F32 {
					v = math.Float32frombits(binary.LittleEndian.Uint32(s.Data[4*i:]))
				} else {
					v = tensor.F16ToF32(binary.LittleEndian.Uint16(s.Data[2*i:]))
				}
				want.Data = binary.LittleEndian.AppendUint16(want.Data, tensor.F32ToBF16(v))
			}
		}
		room := Room(held, c.s)
		host, device := in(Host, 512+room), in(Device, 512+room)
		host.New(tensor.F32, 100) // which lies before it
		first := host.New(tensor.I32, 0)
		w := host.Weight(held, c.s)
		if err := w.Fill(s); err != nil || w.Where != Host || host.Mark() != 512+room {
			t.Fatalf("%s: %v, in %d, %d of %d bytes taken", c.f, err, w.Where, host.Mark(), 512+room)
		}
		to := device.New(tensor.I32, int(room/4))
		copy(to.Raw(), Tensor{P: first.P, DType: tensor.I32, Shape: to.Shape}.Raw())
		for name, w := range map[string]Weight{"waiting": w, "on the device": w.In(to.P, first.P)} {
			got := w.Stored()
			if got.Format != want.Format || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Scales.Map, want.Scales.Map) || !bytes.Equal(got.Scales.Absmax, want.Scales.Absmax) ||
				!bytes.Equal(got.Scales.NestedMap, want.Scales.NestedMap) || !bytes.Equal(got.Scales.NestedAbsmax, want.Scales.NestedAbsmax) || got.Scales.Offset != 0.25 {
				t.Errorf("%s held as %s, %s: other bytes than were stored", c.f, held, name)
			}
		}
		if w.In(to.P, first.P).Where != Device {
			t.Errorf("%s: not on the device", c.f)
		}
	}
	w := in(Host, 1<<20).Weight(tensor.Dense(tensor.BF16), tensor.Shape{4, 4})
	for what, s := range map[string]tensor.Stored{"another shape": {Format: tensor.Dense(tensor.BF16), Shape: tensor.Shape{2, 8}, Data: make([]byte, 32)},
		"too few bytes": {Format: tensor.Dense(tensor.BF16), Shape: tensor.Shape{4, 4}, Data: make([]byte, 30)},
		"codes":         {Format: nf4(0), Shape: tensor.Shape{4, 4}, Data: make([]byte, 8), Scales: tensor.Scales{Map: make([]byte, 64), Absmax: make([]byte, 4)}}} {
		if err := w.Fill(s); err == nil {
			t.Errorf("%s: filled in", what)
		}
	}
}
