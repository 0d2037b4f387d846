package model

import (
	"context"
	"fmt"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Keep is what a layer keeps of a tile between its forward and its backward pass.
type Keep uint8

const (
	// KeepAll keeps every activation.
	KeepAll Keep = iota
	// KeepAttn keeps all but gate and up, which are made again.
	KeepAttn
	// KeepOut keeps a layer's input and what attention gives; only attention is not run again.
	KeepOut
	// KeepInput keeps a layer's input alone; the layer is run again.
	KeepInput
)

var keepNames = [...]string{"all", "attn", "out", "input"}

func (k Keep) String() string { return keepNames[k] }

// MarshalText and UnmarshalText give Keep its name in saved plans.
func (k Keep) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name.
func (k *Keep) UnmarshalText(b []byte) error {
	for i, n := range keepNames {
		if n == string(b) {
			*k = Keep(i)
			return nil
		}
	}
	return fmt.Errorf("unknown policy %q; known are %v", b, keepNames)
}

// Tiling says how a step is carried out. It changes memory, time and the last bits, never the result.
type Tiling struct {
	Tile     int  `json:"tile"`            // T, tokens
	Keep     Keep `json:"keep"`            // what each layer keeps
	More     int  `json:"more,omitempty"`  // so many layers keep the next larger part: all for attn, attn for out, out for input
	Moved    int  `json:"moved,omitempty"` // so many layers' kept part waits in host memory
	MLPRows  int  `json:"mlp_rows"`        // rows of the MLP at a time
	HeadRows int  `json:"head_rows"`       // rows of logits at a time
}

// KeepOf is what layer l of L keeps. The last layer's backward pass follows its forward pass, so it keeps all but what
// is made in pieces. Layers with memory of their own are the first to keep more: what is moved should be little.
func (tl Tiling) KeepOf(l, L int) Keep {
	switch {
	case l == L-1 && (tl.Keep == KeepAll || tl.MLPRows >= tl.Tile):
		return KeepAll
	case l == L-1:
		return KeepAttn
	}
	before := tl.turnsBefore(l, L)
	rank := l - before
	if tl.inTurn(l, L) {
		rank = L - 1 - tl.turns() + before
	}
	if rank < tl.More && tl.Keep > KeepAll {
		return tl.Keep - 1
	}
	return tl.Keep
}

// turns is how many layers take turns in the slots: see carry.
func (tl Tiling) turns() int {
	if tl.Moved == 0 {
		return 0
	}
	return tl.Moved + slots
}

// turnsBefore is how many of them come before layer l of L. They are spread evenly, so that copies have time; the last
// layer is none of them.
func (tl Tiling) turnsBefore(l, L int) int { return l * tl.turns() / max(L-1, 1) }

func (tl Tiling) inTurn(l, L int) bool {
	return l < L-1 && tl.turnsBefore(l+1, L) > tl.turnsBefore(l, L)
}

// MostMoved is the most layers of L whose kept part can be moved.
func MostMoved(L int) int { return max(0, L-1-slots) }

// Kept says it in words: "attn", or "all in 5 layers, attn in the others, 12 layers moved to host memory".
func (tl Tiling) Kept() string {
	s := tl.Keep.String()
	if tl.More > 0 && tl.Keep > KeepAll {
		s = fmt.Sprintf("%s in %s, %s in the others", tl.Keep-1, layers(tl.More), tl.Keep)
	}
	if tl.Moved > 0 {
		s += fmt.Sprintf(", %s moved to host memory", layers(tl.Moved))
	}
	return s
}

func layers(n int) string {
	if n == 1 {
		return "1 layer"
	}
	return fmt.Sprintf("%d layers", n)
}

// Rope is what rotary positions need, already resolved (package rope).
type Rope struct {
	Inv   []float32 // (D/2) inverse frequencies
	Scale float32   // of cos and sin
}

// Runner runs steps over one model with one way of attending.
type Runner struct {
	Tiling
	M         *Model
	B         ops.Backend
	Spec      s2attn.Spec // of layers without a window
	Act, Halo *ops.Arena  // Halo is host memory, for moved activations too
	Worst     bool        // take memory for the longest halos that any cuts could make

	inv       ops.Tensor // (D/2) float32
	ropeScale float32
	loss      ops.Tensor // (1) float64
	positions []int32    // (T) staging on the host, taken when the first tile is entered
	carried   int64      // bytes of Halo that the last pass took for moved activations
	heed      <-chan struct{}
}

// NewRunner takes the little that outlives a step from the act arena.
func NewRunner(m *Model, b ops.Backend, spec s2attn.Spec, rope Rope, tl Tiling, act, halo *ops.Arena) *Runner {
	r := &Runner{Tiling: tl, M: m, B: b, Spec: spec, Act: act, Halo: halo, ropeScale: rope.Scale}
	r.inv, r.loss = act.New(tensor.F32, m.D/2), act.New(tensor.F64, 1)
	b.Upload(r.inv, bytesOf(rope.Inv))
	b.Zero(r.loss)
	return r
}

// Heed makes steps and scores end early, with results of no use, once ctx is done; done ends that. Whoever asks for it
// looks at ctx before anything that was computed counts.
func (r *Runner) Heed(ctx context.Context) (done func()) {
	r.heed = ctx.Done()
	end := func() {}
	if b, ok := r.B.(ops.Heeder); ok {
		end = b.Heed(ctx)
	}
	return func() {
		end()
		r.heed = nil
	}
}

// stopped is looked at between layers.
func (r *Runner) stopped() bool {
	select {
	case <-r.heed:
		return true
	default:
		return false
	}
}

func (r *Runner) geometry(b *Batch) *geometry {
	g := &geometry{n: b.N(), t: r.Tile, docs: b.Docs, worst: r.Worst}
	if r.Spec.Mode == s2attn.Roll && g.tiles() > 1 {
		panic("model: roll runs as one tile")
	}
	return g.attend(r.M.Desc, r.Spec)
}

// frame takes a pass's memory and gives it back when done.
func (r *Runner) frame(b *Batch, backward bool, f func(p *pass)) {
	ma, mh := r.Act.Mark(), r.Halo.Mark()
	f(r.newPass(b, r.geometry(b), backward))
	r.Act.Release(ma)
	r.Halo.Release(mh)
}

// Size takes and gives back what Step, or Score without backward, takes from the arenas: counting ones then know it.
// All memory of a sequence is taken before its first tile.
func (r *Runner) Size(b *Batch, backward bool) { r.frame(b, backward, func(*pass) {}) }

// Carried is how much of the Halo arena's peak is for moved activations, in bytes.
func (r *Runner) Carried() int64 { return r.carried }

// Step adds one micro-batch's gradients of scale·Σ(-log p) to the parameters' gradients and its Σ(-log p) to
// the loss. It only enqueues.
func (r *Runner) Step(b *Batch, scale float32) {
	r.frame(b, true, func(p *pass) {
		last := p.g.tiles() - 1
		for i := 0; i < last && !r.stopped(); i++ {
			p.enter(p.tile(i))
			r.forwardThrough(p, true)
		}
		p.fill = false
		for i := last; i >= 0 && !r.stopped(); i-- {
			r.forwardKept(p, i)
			r.headBackward(p, scale)
			r.backwardKept(p)
		}
	})
}

func (p *pass) tile(i int) at {
	t0, t1 := p.g.tile(i)
	return at{i, t0, t1}
}

// embed starts the residual stream in x.
func (r *Runner) embed(p *pass, x ops.Tensor) {
	r.B.EmbedForward(x.Rows(0, p.n()), r.M.Embed, p.ids.Rows(0, p.n()))
}

// forwardThrough runs the tile through the layers, keeping nothing but halos, and returns the last output. With
// haloOnly it stops in the last layer once its keys and values are known.
func (r *Runner) forwardThrough(p *pass, haloOnly bool) ops.Tensor {
	in, out := p.x0, p.x1
	r.embed(p, in)
	for l := 0; l < r.M.L && !r.stopped(); l++ {
		s := p.scratch
		s.xin = in
		r.forwardKV(l, p, &s)
		if haloOnly && l == r.M.L-1 {
			break
		}
		r.forwardAttn(l, p, &s)
		p.store.ahead(l+1, p.at)
		r.forwardMLP(l, p, &s, out.Rows(0, p.n()))
		in, out = out, in
	}
	return in
}

// forwardKept runs tile i through all layers, keeping what the policy says; x0 receives the output.
func (r *Runner) forwardKept(p *pass, i int) {
	p.enter(p.tile(i))
	n, c := p.n(), &p.carry
	c.claim(0, partIn)
	r.embed(p, p.layers[0].xin)
	p.store.aheadOwed(r.M.L-1, p.at)
	for l := 0; l < r.M.L && !r.stopped(); l++ {
		s := &p.layers[l]
		c.made(l, s, partIn, n)
		c.claim(l, partQKV)
		r.forwardKV(l, p, s)
		c.made(l, s, partQKV, n)
		c.claim(l, partOut)
		c.claim(l, partMid)
		r.forwardAttn(l, p, s)
		p.store.ahead(l+1, p.at)
		c.made(l, s, partOut, n)
		c.made(l, s, partMid, n)
		out := p.x0
		if l+1 < r.M.L {
			c.claim(l+1, partIn)
			out = p.layers[l+1].xin
		}
		c.claim(l, partMLP)
		r.forwardMLP(l, p, s, out.Rows(0, n))
		c.made(l, s, partMLP, n)
	}
}

// headBackward adds the tile's loss and leaves the gradient of the last layer's output in dx.
func (r *Runner) headBackward(p *pass, scale float32) {
	b, m, n := r.B, r.M, p.n()
	x, nf, dn, dx := p.x0.Rows(0, n), p.norm.Rows(0, n), p.dn.Rows(0, n), p.dx.Rows(0, n)
	rstd := p.delta.Rows(0, n) // free until the first attention
	b.RMSNormForward(nf, rstd, x, m.Norm.W, m.Eps)
	nll := p.nll.Rows(0, n)
	b.HeadLoss(&ops.HeadLoss{X: nf, W: m.Head, DW: m.DHead, Targets: p.targets.Rows(0, n), NLL: nll, DX: dn, Scale: scale, Logits: p.logits})
	b.SumF32(r.loss, nll)
	b.Zero(dx)
	b.RMSNormBackward(dx, m.Norm.DW, dn, x, rstd, m.Norm.W)
}

// backwardKept runs the tile back through all layers and into the embedding.
func (r *Runner) backwardKept(p *pass) {
	n := p.n()
	dx := p.dx.Rows(0, n)
	for l := r.M.L - 1; l >= 0 && !r.stopped(); l-- {
		s := &p.layers[l]
		p.carry.back(l)
		switch r.KeepOf(l, r.M.L) {
		case KeepInput:
			r.forwardKV(l, p, s)
			r.forwardAttn(l, p, s)
		case KeepOut:
			r.forwardKV(l, p, s)
			r.forwardO(l, p, s)
		}
		r.backward(l, p, s, dx)
		p.carry.done(l, p.layers, n)
	}
	if !r.M.DEmbed.None() {
		r.B.EmbedBackward(r.M.DEmbed, dx, p.ids.Rows(0, n))
	}
}

// Loss waits and returns Σ(-log p) since the last call.
func (r *Runner) Loss() (float64, error) {
	v, err := scalar(r.B, r.loss)
	r.B.Zero(r.loss)
	return v, err
}

// Score runs the sequence forward and returns -log p of every target, 0 where Targets is -1. (N) float32
func (r *Runner) Score(b *Batch) ([]float32, error) {
	if err := b.Fits(r.M.V); err != nil {
		return nil, err
	}
	out := make([]float32, b.N())
	var err error
	r.frame(b, false, func(p *pass) {
		for i := 0; i < p.g.tiles() && err == nil && !r.stopped(); i++ {
			p.enter(p.tile(i))
			n := p.n()
			x := r.forwardThrough(p, false).Rows(0, n)
			nf := p.norm.Rows(0, n)
			r.B.RMSNormForward(nf, p.scratch.rstd1.Rows(0, n), x, r.M.Norm.W, r.M.Eps)
			nll := p.nll.Rows(0, n)
			r.B.HeadLoss(&ops.HeadLoss{X: nf, W: r.M.Head, Targets: p.targets.Rows(0, n), NLL: nll, Logits: p.logits})
			err = r.B.Download(bytesOf(out[p.at.t0:p.at.t1]), nll)
		}
	})
	return out, err
}
