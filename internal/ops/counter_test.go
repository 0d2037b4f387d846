package ops

import (
	"math"
	"testing"

	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Pairs is the number of (query, key) that the masks of all heads allow, for whole sequences and tiles.
func TestPairs(t *testing.T) {
	docs := []int{0, 37, 38, 150}
	a := Attn{H: 5, Hkv: 5, D: 8, Docs: []int32{0, 37, 38, 150}}
	for _, spec := range []s2attn.Spec{{Mode: s2attn.Full}, {Mode: s2attn.Split, Group: 16}, {Mode: s2attn.Split, Group: 31}, s2attn.Windowed(1), s2attn.Windowed(40)} {
		a.Spec = spec
		for _, tile := range [][2]int{{0, 150}, {0, 20}, {30, 41}, {100, 150}} {
			want := 0
			for h := range a.H {
				mask := s2attn.Mask(spec, docs, s2attn.Shifted(h, a.H))
				for q := tile[0]; q < tile[1]; q++ {
					for k := range 150 {
						if mask[q][k] {
							want++
						}
					}
				}
			}
			b := a
			b.Q0 = tile[0]
			if got := b.Pairs(tile[1] - tile[0]); got != float64(want) {
				t.Errorf("%+v, tokens %v: %g pairs, the masks have %d", spec, tile, got, want)
			}
		}
	}
}

// Codes of 4 bits are made wide before each of their products: half a byte is read and two are written an element.
func TestCounterNF4(t *testing.T) {
	c := NewCounter(tensor.BF16, 7, Rates{Linear: 1})
	w, err := c.Weight(tensor.Stored{Format: tensor.Format{Type: tensor.F32, Code: tensor.NF4, Block: 64}, Shape: tensor.Shape{30, 20}})
	a := CountingArena("act", Device)
	x, y := a.New(tensor.BF16, 10, 20), a.New(tensor.BF16, 10, 30)
	l := &Linear{W: w}
	c.LinearForward(x, Tensor{}, []Proj{{L: l, Y: y}})
	c.LinearBackward(x, x, Tensor{}, []ProjGrad{{L: l, DY: y}})
	c.LinearBackward(Tensor{}, x, Tensor{}, []ProjGrad{{L: l, DY: y}}) // takes no product with W
	if got := c.Cost; err != nil || got.Bytes != 2*2.5*600 || got.Linear != 2*2*10*600 {
		t.Errorf("%+v, %v, want 600 codes made wide and multiplied twice", got, err)
	}
	c = NewCounter(tensor.F32, 7, Rates{Linear: 1})
	c.LinearForward(x, Tensor{}, []Proj{{L: l, Y: y}})
	if c.Cost.Bytes != 0 {
		t.Errorf("on a CPU, which makes them wide in its caches: %v bytes", c.Cost.Bytes)
	}
}

// A counting backend adds operations up as the formulas have them, and a device's weights in its own type.
func TestCounter(t *testing.T) {
	c := NewCounter(tensor.BF16, 7, Rates{})
	w, err := c.Weight(tensor.Stored{Format: tensor.Dense(tensor.F32), Shape: tensor.Shape{30, 20}})
	if err != nil || w.Format != tensor.Dense(tensor.BF16) || c.Weights != 1280 { // 1200 bytes, aligned
		t.Errorf("a float32 weight on a bfloat16 device: %v, %d bytes, %v", w.Format, c.Weights, err)
	}
	a := CountingArena("act", Device)
	x, y, dx := a.New(tensor.BF16, 10, 20), a.New(tensor.BF16, 10, 30), a.New(tensor.BF16, 10, 20)
	l := &Linear{W: w, LoRA: &LoRA{A: a.New(tensor.BF16, 4, 20), B: a.New(tensor.BF16, 30, 4)}}
	c.LinearForward(x, Tensor{}, []Proj{{L: l, Y: y}})
	if want := 2.0 * 10 * (30*20 + 4*(20+30)); c.Cost.Linear != want {
		t.Errorf("forward: %g operations, want %g", c.Cost.Linear, want)
	}
	c.Cost = Cost{}
	c.LinearBackward(dx, x, Tensor{}, []ProjGrad{{L: l, DY: y}})
	if want := 2.0 * 10 * (30*20 + 2*4*(20+30)); c.Cost.Linear != want { // the factors' gradients and the input's
		t.Errorf("backward: %g operations, want %g", c.Cost.Linear, want)
	}
	l.DW = a.New(tensor.F32, 30, 20)
	for _, at := range []struct {
		dx   Tensor
		base float64
	}{{dx, 2}, {Tensor{}, 1}} { // dX and dW, or dW alone
		c.Cost = Cost{}
		c.LinearBackward(at.dx, x, Tensor{}, []ProjGrad{{L: l, DY: y}})
		if want := 2.0 * 10 * (at.base*30*20 + 2*4*(20+30)); c.Cost.Linear != want {
			t.Errorf("backward with a trained weight: %g operations, want %g", c.Cost.Linear, want)
		}
	}
	for _, at := range []struct {
		fp8           float64 // the rate of products in FP8
		linear, bytes [2]float64
	}{ // the products at a fourth, rows of 20 and 30 values narrowed, 600 codes turned round; or these made wide
		{4, [2]float64{150 * 20, 150 * 20}, [2]float64{3 * 10 * 20, 3*10*30 + 2*600}},
		{0, [2]float64{600 * 20, 600 * 20}, [2]float64{3 * 600, 3 * 600}},
	} {
		c := NewCounter(tensor.BF16, 7, Rates{Linear: 1, FP8: at.fp8})
		w, err := c.Weight(tensor.Stored{Format: tensor.Format{Type: tensor.F32, Code: tensor.FP8}, Shape: tensor.Shape{30, 20}})
		if err != nil || c.Weights != 768+256 { // 600 codes, 30 factors, aligned
			t.Errorf("a weight in FP8: %d bytes, %v", c.Weights, err)
		}
		l := &Linear{W: w}
		c.LinearForward(x, Tensor{}, []Proj{{L: l, Y: y}})
		forward := c.Restart()
		c.LinearBackward(dx, x, Tensor{}, []ProjGrad{{L: l, DY: y}})
		for i, got := range []Cost{forward, c.Cost} {
			if got.Linear != at.linear[i] || got.Bytes != at.bytes[i] || got.Figure != 600*20 {
				t.Errorf("FP8 at %v, part %d: %+v, want %v operations and %v bytes", at.fp8, i, got, at.linear[i], at.bytes[i])
			}
		}
	}
	q := &Attn{H: 3, Hkv: 3, D: 64, Docs: []int32{0, 10}, Q: a.New(tensor.BF16, 10, 3, 64)}
	c.AttnForward(q)
	if want := 3.0 * 55 * 4 * 64; c.Cost.Attention != want { // scores and values, two operations a multiply-add
		t.Errorf("attention: %g operations, want %g", c.Cost.Attention, want)
	}
	c.AttnBackward(q)
	if want := 3.0 * 55 * (4 + 10) * 64; c.Cost.Attention != want { // scores again, dV, dP, dQ, dK
		t.Errorf("attention and back: %g operations, want %g", c.Cost.Attention, want)
	}
	for _, s := range []struct { // what takes longer at the same rate counts as more
		d     int
		cap   float32
		act   tensor.DType
		times float64
	}{{128, 0, tensor.BF16, 1}, {128, 50, tensor.BF16, 1.4}, {96, 0, tensor.BF16, 2.1 * 128 / 96}, {256, 50, tensor.BF16, 2.8 * 1.4},
		{80, 50, tensor.F32, 1}} {
		if got := (&Attn{D: s.d, Cap: s.cap}).slower(s.act); math.Abs(got-s.times) > 1e-12 {
			t.Errorf("%+v: %g", s, got)
		}
	}
	for _, h := range []struct {
		HeadLoss
		products float64
	}{{HeadLoss{}, 1}, {HeadLoss{DX: dx}, 2}, {HeadLoss{DX: dx, DW: l.DW}, 3}} {
		h.X, h.W, c.Cost = x, w, Cost{}
		c.HeadLoss(&h.HeadLoss)
		if want := 2 * h.products * 10 * 30 * 20; c.Cost.Head != want {
			t.Errorf("a head of %g products: %g operations, want %g", h.products, c.Cost.Head, want)
		}
	}
	c.Cost = Cost{}
	c.CopyRows(y, y, Block{Rows: 3, Cols: 5})
	if c.Cost.Bytes != 60 || c.Cost.Calls != 1 {
		t.Errorf("copies: %+v", c.Cost)
	}
}

// An arena is a stack: what is released is used again, and the peak is remembered.
func TestCountingArena(t *testing.T) {
	a := CountingArena("act", Device)
	a.New(tensor.F32, 100) // 400 bytes: 512
	m := a.Mark()
	a.New(tensor.BF16, 1000) // 2048
	a.Release(m)
	a.New(tensor.F64, 1) // 256
	if a.Peak() != 512+2048 || a.Mark() != 512+256 {
		t.Errorf("peak %d, in use %d", a.Peak(), a.Mark())
	}
	if x := a.New(tensor.F32, 3, 5).Rows(1, 3); x.P != nil || x.Elems() != 10 || x.Bytes() != 40 {
		t.Errorf("a counted view: %+v", x)
	}
}

// Copies run beside the operations, each direction in its order, and only what operations wait for counts.
func TestCarried(t *testing.T) {
	c := NewCounter(tensor.BF16, 0, Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 2})
	host, dev := CountingArena("host", Host).New(tensor.F32, 25), CountingArena("act", Device).New(tensor.F32, 25) // 100 bytes, 50 s
	work := func(s float64) { c.Cost.Attention += s }
	sent := c.Send(host, dev, Whole(dev))
	work(30)
	if c.Wait(sent); c.Cost.Stalled != 20 {
		t.Errorf("after 30 s of 50: stalled %g s", c.Cost.Stalled)
	}
	work(10)                                // 60
	first := c.Send(host, dev, Whole(dev))  // done at 110
	back := c.Fetch(dev, host, Whole(dev))  // after it, done at 160
	second := c.Send(host, dev, Whole(dev)) // done at 160
	c.Wait(first)                           // 110
	work(20)                                // 130
	c.Wait(back)                            // 160
	c.Wait(second)                          // nothing to wait for
	c.Wait(Ticket{})
	if c.Cost.Stalled != 20+50+30 || c.rates.Seconds(c.Cost) != 160 || c.Cost.Sent != 300 || c.Cost.Fetched != 100 {
		t.Errorf("%+v", c.Cost)
	}
	late := c.Send(host, dev, Whole(dev))
	if was := c.Restart(); was.Stalled != 100 || c.Cost != (Cost{}) {
		t.Errorf("restarted: %+v, %+v", was, c.Cost)
	}
	c.Wait(late)
	if c.Wait(c.Send(host, dev, Whole(dev))); c.Cost.Stalled != 50 {
		t.Errorf("after a copy of before the restart and one of 50 s: stalled %g s", c.Cost.Stalled)
	}
}

// What is brought comes after the operations before it and shares the way to the device with fetches, but waits for no
// send.
func TestBrought(t *testing.T) {
	c := NewCounter(tensor.BF16, 0, Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 2})
	host, dev := CountingArena("host", Host).New(tensor.F32, 25), CountingArena("act", Device).New(tensor.F32, 25) // 100 bytes, 50 s
	c.Cost.Attention = 10
	sent := c.Send(host, dev, Whole(dev))     // done at 60
	brought := c.Bring(dev, host, Whole(dev)) // at 60 too
	fetched := c.Fetch(dev, host, Whole(dev)) // after both, at 110
	again := c.Bring(dev, host, Whole(dev))   // at 160
	for _, x := range []struct {
		ticket Ticket
		at     float64
	}{{brought, 60}, {sent, 60}, {fetched, 110}, {again, 160}} {
		if c.Wait(x.ticket); c.rates.Seconds(c.Cost) != x.at {
			t.Errorf("%+v is done at %g s, want %g", x.ticket, c.rates.Seconds(c.Cost), x.at)
		}
	}
	if c.Cost.Brought != 200 || c.Cost.Fetched != 100 || c.Cost.Sent != 100 {
		t.Errorf("%+v", c.Cost)
	}
}
