//go:build !cgo

package cpu

import (
	"math"
	"unsafe"
)

// LayerNormForward norms rows.
func (s Set) LayerNormForward(a *LayerNorm) {
	ws, bs, stat := floats(a.W, a.C), floats(a.Bias, a.C), floats(a.Stat, 2*a.N)
	for t := range a.N {
		xs, ys := floats(unsafe.Add(a.X, 4*t*a.C), a.C), floats(unsafe.Add(a.Y, 4*t*a.C), a.C)
		m, q := 0.0, 0.0
		for _, v := range xs {
			m += float64(v) / float64(a.C)
		}
		for _, v := range xs {
			q += (float64(v) - m) * (float64(v) - m)
		}
		r := float32(1 / math.Sqrt(q/float64(a.C)+float64(a.Eps)))
		stat[2*t], stat[2*t+1] = float32(m), r
		for i, v := range xs {
			ys[i] = (v-float32(m))*r*ws[i] + bs[i]
		}
	}
}

// LayerNormBackward adds to DX.
func (s Set) LayerNormBackward(a *LayerNorm) {
	ws, stat := floats(a.W, a.C), floats(a.Stat, 2*a.N)
	for t := range a.N {
		o := 4 * t * a.C
		xs, dys, dxs := floats(unsafe.Add(a.X, o), a.C), floats(unsafe.Add(a.DY, o), a.C), floats(unsafe.Add(a.DX, o), a.C)
		mean, r, gs, gh := stat[2*t], stat[2*t+1], 0.0, 0.0
		for i, v := range xs {
			g := dys[i] * ws[i]
			gs, gh = gs+float64(g), gh+float64(g*(v-mean)*r)
		}
		sm, qm := float32(gs/float64(a.C)), float32(gh/float64(a.C))
		for i, v := range xs {
			dxs[i] += r * (dys[i]*ws[i] - sm - (v-mean)*r*qm)
		}
	}
}

// LayerNormWeight adds to DW and DBias for w adjacent channels.
func (s Set) LayerNormWeight(a *LayerNorm, w int) {
	stat := floats(a.Stat, 2*a.N)
	for t := range a.N {
		g, v := floats(unsafe.Add(a.DY, 4*t*a.C), w), floats(unsafe.Add(a.X, 4*t*a.C), w)
		for i := range w {
			if a.DW != nil {
				floats(a.DW, w)[i] += g[i] * (v[i] - stat[2*t]) * stat[2*t+1]
			}
			if a.DBias != nil {
				floats(a.DBias, w)[i] += g[i]
			}
		}
	}
}

// at is the unit's value and slope.
func (a *GELU) at(x float64) (v, slope float64) {
	if a.Tanh {
		k, c := math.Sqrt(2/math.Pi), 0.044715
		t := math.Tanh(k * (x + c*x*x*x))
		return x / 2 * (1 + t), (1+t)/2 + x/2*(1-t*t)*k*(1+3*c*x*x)
	}
	below := math.Erfc(-x/math.Sqrt2) / 2
	return x * below, below + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
}

// GELUForward is H = gelu(G)·U.
func (s Set) GELUForward(a *GELU) {
	hs := floats(a.H, a.N)
	for i, g := range floats(a.G, a.N) {
		v, _ := a.at(float64(g))
		if hs[i] = float32(v); a.U != nil {
			hs[i] *= floats(a.U, a.N)[i]
		}
	}
}

// GELUBackward is its gradient.
func (s Set) GELUBackward(a *GELU) {
	dhs, dgs := floats(a.H, a.N), floats(a.DG, a.N)
	for i, g := range floats(a.G, a.N) {
		v, slope := a.at(float64(g))
		if a.U == nil {
			dgs[i] = dhs[i] * float32(slope)
			continue
		}
		u := floats(a.U, a.N)[i]
		dgs[i], floats(a.DU, a.N)[i] = dhs[i]*u*float32(slope), dhs[i]*float32(v)
	}
}

// Scale is y = res + f·x over n elements, or f·x where res is nil.
func (s Set) Scale(y, res, x ptr, f float32, n int) {
	ys, xs := floats(y, n), floats(x, n)
	if res == nil {
		for i, v := range xs {
			ys[i] = f * v
		}
		return
	}
	for i, r := range floats(res, n) {
		ys[i] = r + f*xs[i]
	}
}
