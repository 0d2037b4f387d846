package optest

import (
	"math"
)

// gelus: the unit exact and by tanh, with what it is multiplied by and without, and its derivatives apart or in place.
func gelus(k *kit) {
	for _, c := range [][2]int{{1, 1}, {3, 37}, {130, 688}, {17, 1001}} {
		for _, tanh := range []bool{false, true} {
			for _, alone := range []bool{false, true} {
				k.gelu(c[0], c[1], tanh, alone)
			}
		}
	}
}

// gelu is the unit's value and slope.
func gelu(x float64, tanh bool) (v, slope float64) {
	if !tanh {
		below := math.Erfc(-x/math.Sqrt2) / 2
		return x * below, below + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}
	s := math.Sqrt(2 / math.Pi)
	t := math.Tanh(s * (x + 0.044715*x*x*x))
	return x / 2 * (1 + t), (1+t)/2 + x/2*(1-t*t)*s*(1+3*0.044715*x*x)
}

func (k *kit) gelu(n, f int, tanh, alone bool) {
	k.start("forward, %d rows of %d, tanh %v, alone %v", n, f, tanh, alone)
	g, h, u := k.normal("g", k.act, n, f), k.out("h", k.act, n, f), &arg{}
	if !alone {
		u = k.normal("u", k.act, n, f)
	}
	by := func(u *arg, i int) float64 {
		if alone {
			return 1
		}
		return u.v[i]
	}
	k.judge(1e-6, func() { k.b.GELUForward(h.Tensor, g.Tensor, u.Tensor, tanh) }, func(r round) [][]float64 {
		want := make([]float64, n*f)
		for i, x := range g.v {
			v, _ := gelu(x, tanh)
			want[i] = r(v * by(u, i))
		}
		return [][]float64{want}
	}, h)
	for _, over := range []bool{false, true} {
		k.start("backward, %d rows of %d, tanh %v, alone %v, in place %v", n, f, tanh, alone, over)
		dh, u, du := k.normal("dh", k.act, n, f), &arg{}, &arg{}
		var g, dg *arg
		if over {
			g = k.sum("g", k.act, n, f)
			dg = g
		} else {
			g, dg = k.normal("g", k.act, n, f), k.out("dg", k.act, n, f)
		}
		switch {
		case !alone && over:
			u = k.sum("u", k.act, n, f)
			du = u
		case !alone:
			u, du = k.normal("u", k.act, n, f), k.out("du", k.act, n, f)
		}
		outs := []*arg{dg, du}
		if alone {
			outs = outs[:1]
		}
		k.judge(1e-6, func() { k.b.GELUBackward(dg.Tensor, du.Tensor, dh.Tensor, g.Tensor, u.Tensor, tanh) },
			func(r round) [][]float64 {
				wg, wu := make([]float64, n*f), make([]float64, n*f)
				for i, x := range g.v {
					v, slope := gelu(x, tanh)
					wg[i], wu[i] = r(dh.v[i]*by(u, i)*slope), r(dh.v[i]*v)
				}
				return [][]float64{wg, wu}[:len(outs)]
			}, outs...)
	}
}
