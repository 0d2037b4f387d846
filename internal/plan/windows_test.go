package plan

import (
	"math"
	"testing"

	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// windowed is 7B with a window in every layer but those that skip says.
func windowed(ctx, w int, skip func(l int) bool) problem {
	p := problem{on7b(ctx), h100(0, 0)}
	p.Desc.Windows = make([]int, p.Desc.L)
	for l := range p.Desc.Windows {
		if !skip(l) {
			p.Desc.Windows[l] = w
		}
	}
	return p
}

func never(int) bool  { return false }
func even(l int) bool { return l%2 == 0 }

// Where every layer has a window, its attention costs what the window costs, the halo between two tiles is the last W-1
// tokens, and groups do not matter.
func TestWindowsAreCounted(t *testing.T) {
	const n, w, tile = 65536, 4096, 16384
	p := windowed(n, w, never)
	tl := model.Tiling{Tile: tile, Keep: model.KeepAll, MLPRows: tile, HeadRows: 4096}
	pl, err := p.Count(p.Work, tl)
	if err != nil {
		t.Fatal(err)
	}
	d := p.Desc
	pairs := float64(n)*w - float64(w)*(w-1)/2
	forward, last := 4*float64(d.D)*pairs*float64(d.H), s2attn.Windowed(w).Pairs(n-tile, n, n, false)*4*float64(d.D)*float64(d.H)
	// forward twice but in the last tile, where it is run once, and in the last layer, which stops after its keys
	want := float64(d.L)*(forward*3.5) + float64(d.L-1)*(forward-last)
	if got := pl.Cost.Attention; math.Abs(got/want-1) > 1e-12 {
		t.Errorf("attention counts %g operations, want %g", got, want)
	}
	kept, debt := int64(3*(w-1)*2*2), int64((w-1)*2*4) // keys and values at three borders in bfloat16; their gradients at one
	if want := int64(d.L) * int64(d.Hkv*d.D) * (kept + debt); pl.Halo < want || pl.Halo > want+int64(d.L)*4*256 {
		t.Errorf("halos take %d bytes, want %d", pl.Halo, want)
	}
	q := p
	q.Spec = s2attn.Spec{Mode: s2attn.Full}
	if full, err := q.Count(q.Work, tl); err != nil || full.Cost != pl.Cost || full.Host != pl.Host || full.Device != pl.Device {
		t.Errorf("full attention beside windows alone is planned otherwise: %+v, %+v (%v)", full, pl, err)
	}
	linear := 4 * float64(d.L*(d.C*(2*d.H+2*d.Hkv)*d.D+3*d.C*d.F)+d.C*d.V) * n
	if got, want := flops(t, d, n, p.Spec)-linear, float64(d.L)*forward*3.5; math.Abs(got/want-1) > 1e-3 {
		t.Errorf("attention's share of a step's operations is %g, want %g", got, want)
	}
}

func flops(t *testing.T, d model.Desc, n int, spec s2attn.Spec) float64 {
	t.Helper()
	f, err := StepFlops(d, n, spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What a step is said to need is the formula by which others publish theirs: 4 a parameter and token for the linear layers
// and the head, attention over half a group or row, or a window, forward and 2.5 times that on the way back.
func TestStepFlops(t *testing.T) {
	for _, name := range model.ShapeNames() {
		d, _ := model.Shape(name)
		const n = 8192
		for spec, group := range map[s2attn.Spec]int{{Mode: s2attn.Full}: n, {Mode: s2attn.Split, Group: n / 4}: n / 4, {Mode: s2attn.Split, Group: 2 * n}: n} {
			params, keys := float64(d.L*(2*d.C*d.H*d.D+2*d.C*d.Hkv*d.D+3*d.C*d.F)+d.C*d.V), 0.0
			for l := range d.L {
				k := float64(group) / 2
				if l < len(d.Windows) && d.Windows[l] > 0 { // all but the first W queries see W
					w := float64(d.Windows[l])
					k = w - w*w/(2*n)
				}
				keys += k
			}
			want := 4*params*n + float64(d.H)*n*keys*4*float64(d.D)*3.5
			if got := flops(t, d, n, spec); math.Abs(got/want-1) > 1e-12 {
				t.Errorf("%s, %+v: %g operations, want %g", name, spec, got, want)
			}
		}
	}
}

// A long sequence is predicted from a part of it, whatever mixture of windows and groups its layers have.
func TestWindowsArePredicted(t *testing.T) {
	for _, c := range []struct {
		what string
		skip func(l int) bool
	}{{"windows alone", never}, {"windows in every second layer", even}} {
		p := windowed(1<<17, 3000, c.skip)
		p.Desc.L, p.Desc.Windows, p.Spec.Group = 4, p.Desc.Windows[:4], 2048
		z, err := newCounted(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, tile := range []int{2048, 4096} {
			tl := model.Tiling{Tile: tile, Keep: model.KeepAll, MLPRows: tile, HeadRows: 1024}
			if got, want := z.seconds(tl), p.Rates.Seconds(z.cost(tl, z.batch)); math.Abs(got/want-1) > 2e-3 {
				t.Errorf("%s, tile %d: %g s predicted from a part, %g s of the whole", c.what, tile, got, want)
			}
		}
	}
	p := windowed(4096, 512, even)
	p.Spec = s2attn.Spec{Mode: s2attn.Full}
	if p.reach() != unbounded {
		t.Error("full layers beside windows see all")
	}
}
