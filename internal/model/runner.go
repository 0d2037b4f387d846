package model

import (
	"context"
	"iter"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

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
	Act, Host *ops.Arena  // Host is for halos and moved activations
	Worst     bool        // take memory for the longest halos that any cuts could make
	Division  Division    // of every sequence among ranks

	inv        ops.Tensor // (D/2) float32
	ropeScale  float32
	loss       ops.Tensor // (1) float64
	positions  []int32    // (T) staging on the host, taken when the first tile is entered
	movedBytes int64      // bytes of Host that the last pass took for moved activations
	heed       <-chan struct{}
	weights    weights
	apart      bool // no memory has two names: for a test
}

// NewRunner takes the little that outlives a step from the act arena.
func NewRunner(m *Model, b ops.Backend, spec s2attn.Spec, rope Rope, tl Tiling, act, host *ops.Arena) *Runner {
	r := &Runner{Tiling: tl, M: m, B: b, Spec: spec, Act: act, Host: host, ropeScale: rope.Scale,
		weights: m.weightsOf(b, tl, act)}
	r.inv, r.loss = act.New(tensor.F32, m.RotaryDim()/2), act.New(tensor.F64, 1)
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

func (r *Runner) geometry(b *Batch, backward bool) *geometry {
	g := &geometry{n: b.N(), t: r.Tile, docs: b.Docs, worst: r.Worst}
	if r.Spec.Mode == s2attn.Roll && g.tiles() > 1 {
		panic("model: roll runs as one tile")
	}
	if r.Division.over() {
		g.divide(r.Division, r.M.Desc, r.Spec, backward)
	}
	return g.attend(r.M.Desc, r.Spec)
}

// frame takes a pass's memory and gives it back when done. A rank that a short sequence has no token for does nothing.
func (r *Runner) frame(b *Batch, backward bool, f func(p *pass)) {
	if b.N() <= r.Division.Rank {
		return
	}
	ma, mh := r.Act.Mark(), r.Host.Mark()
	p := r.newPass(b, r.geometry(b, backward), backward)
	f(p)
	r.Act.Release(ma)
	r.Host.Release(mh)
}

// Size takes and gives back what Step, or Score without backward, takes from the arenas: counting ones then know it.
// All memory of a sequence is taken before its first tile.
func (r *Runner) Size(b *Batch, backward bool) { r.frame(b, backward, func(*pass) {}) }

// cells is a step's: of all tiles, or of this rank's.
func (p *pass) cells() iter.Seq[cell] {
	if p.g.divided() {
		return cellsOf(p.g.own, p.r.M.L)
	}
	return stepCells(p.g.tiles(), p.r.M.L)
}

// MovedBytes is how much of the host arena's peak is for moved activations, in bytes.
func (r *Runner) MovedBytes() int64 { return r.movedBytes }

// Step adds one micro-batch's gradients of scale·Σ(-log p) to the parameters' gradients and its Σ(-log p) to
// the loss. It only enqueues.
func (r *Runner) Step(b *Batch, scale float32) {
	r.frame(b, true, func(p *pass) {
		p.scale = scale
		r.run(p, p.cells())
		p.store.finish()
	})
}

// run does cells in their order. Once it is stopped it returns early, with results of no use.
func (r *Runner) run(p *pass, cells iter.Seq[cell]) {
	r.weights.begin(cells)
	for c := range cells {
		if r.stopped() {
			return
		}
		if c.layer == 0 && c.phase != back {
			r.enterTile(p, c)
		}
		r.weights.use(c.layer)
		switch c.phase {
		case keeping:
			r.keepingCell(p, c.layer)
		case back:
			r.backCell(p, c.layer)
		default:
			r.forwardCell(p, c.layer, c.phase == halo)
		}
		r.weights.spent(c.layer)
		switch {
		case c.phase == keeping && c.layer == r.M.L-1:
			r.headBackward(p)
		case c.phase == back && c.layer == 0 && !r.M.DEmbed.None():
			r.by(p.dx.Rows(0, p.n()), r.embedBy())
			r.M.Params.Occur(p.tokens())
			r.B.EmbedBackward(r.M.DEmbed, p.dx.Rows(0, p.n()), p.ids.Rows(0, p.n()))
		}
	}
}

// enterTile starts a tile's way forward with the embedding.
func (r *Runner) enterTile(p *pass, c cell) {
	p.fill = c.phase != keeping || p.g.divided()
	if c.tile != appended {
		t0, t1 := p.g.tile(c.tile)
		p.enter(at{c.tile, t0, t1})
	}
	x := p.stream(0)
	if c.phase == keeping {
		p.mover.claim(0, partIn)
		x = p.layers[0].xin
	}
	r.B.EmbedForward(x.Rows(0, p.n()), r.M.Embed, p.ids.Rows(0, p.n()))
	r.by(x.Rows(0, p.n()), r.embedBy())
	if c.phase == keeping && !p.g.divided() { // whose neighbour is far from it
		p.store.aheadOwed(r.M.L-1, p.at)
	}
}

// embedBy is what the embedding is multiplied by.
func (r *Runner) embedBy() float32 {
	if r.M.EmbedRounded && r.B.Act() == tensor.BF16 {
		return tensor.BF16ToF32(tensor.F32ToBF16(r.M.EmbedBy))
	}
	return r.M.EmbedBy
}

// by multiplies x in place; by 0 not at all.
func (r *Runner) by(x ops.Tensor, f float32) {
	if f > 0 {
		r.B.Scale(x, ops.Tensor{}, x, f)
	}
}

// last norms rows of the last layer's output for the head.
func (r *Runner) last(y, stat, x ops.Tensor) {
	r.normed(&r.M.Norm, y, stat, x)
	r.by(y, r.M.LogitsBy)
}

// forwardCell runs the tile through layer l, keeping nothing but halos; with haloOnly it stops once keys and values are
// known.
func (r *Runner) forwardCell(p *pass, l int, haloOnly bool) {
	s := p.scratch
	s.xin = p.stream(l)
	r.forwardKV(l, p, &s)
	if haloOnly {
		return
	}
	p.strips(func() {
		y := p.view(&s)
		r.ask(l, p, &s, y)
		r.forwardAttn(l, p, y)
		if p.ends() {
			p.store.ahead(l+1, p.at)
		}
		r.forwardMLP(l, p, y, p.of(p.stream(l+1)))
	})
}

// keepingCell runs the tile through layer l, keeping what the policy says; the last layer's output is in x0.
func (r *Runner) keepingCell(p *pass, l int) {
	n, c, s := p.n(), &p.mover, &p.layers[l]
	c.made(l, s, partIn, n)
	c.claim(l, partQKV)
	r.forwardKV(l, p, s)
	c.made(l, s, partQKV, n)
	c.claim(l, partOut)
	c.claim(l, partMid)
	p.strips(func() {
		y := p.view(s)
		r.ask(l, p, s, y)
		r.forwardAttn(l, p, y)
		if p.ends() {
			p.store.ahead(l+1, p.at)
			c.made(l, s, partOut, n)
			c.made(l, s, partMid, n)
		}
		out := p.x0
		if l+1 < r.M.L {
			c.claim(l+1, partIn)
			out = p.layers[l+1].xin
		}
		c.claim(l, partMLP)
		r.forwardMLP(l, p, y, p.of(out))
	})
	c.made(l, s, partMLP, n)
}

// headBackward adds the tile's loss and leaves the gradient of the last layer's output in dx.
func (r *Runner) headBackward(p *pass) {
	p.store.turn(p.at)
	p.strips(func() {
		b, m, n := r.B, r.M, p.n()
		x, nf, dn, dx := p.of(p.x0), p.norm.Rows(0, n), p.dn.Rows(0, n), p.of(p.dx)
		rstd := p.rstd.Rows(0, n*m.stats(FinalNorm))
		r.last(nf, rstd, x)
		nll := p.of(p.nll)
		b.HeadLoss(&ops.HeadLoss{X: nf, W: m.Head, DW: m.DHead, Targets: p.of(p.targets), NLL: nll, DX: dn,
			Cap: m.LogitsCap, Scale: p.scale, Logits: p.logits})
		b.SumF32(r.loss, nll)
		r.by(dn, m.LogitsBy)
		b.Zero(dx)
		r.normBack(&m.Norm, dx, dn, x, rstd)
	})
}

// backCell turns dx from the gradient of layer l's output into that of its input.
func (r *Runner) backCell(p *pass, l int) {
	s, keep := &p.layers[l], p.keepOf(l)
	p.mover.back(l)
	if keep <= KeepAttn {
		r.again(l, p, s)
	} else {
		r.forwardKV(l, p, s)
	}
	p.strips(func() {
		y := p.view(s)
		r.ask(l, p, s, y)
		switch keep {
		case KeepInput:
			r.forwardAttn(l, p, y)
		case KeepOut:
			r.forwardO(l, p, y)
		}
		r.backward(l, p, y, p.of(p.dx))
	})
	p.store.leave(l, p.at)
	p.strips(func() {
		y := p.view(s)
		if r.M.Has(QNorm) && !p.g.lasts(s.q) { // another strip's are there
			r.project(l, p, y, queries|keysValues)
		}
		r.backwardQKV(l, p, y, p.of(p.dx))
	})
	p.mover.done(l, p.layers, p.n())
}

// Loss waits and returns Σ(-log p) since the last call.
func (r *Runner) Loss() (float64, error) {
	v, err := scalar(r.B, r.loss)
	r.B.Zero(r.loss)
	return v, err
}

// Score runs the sequence forward and returns -log p of every target, 0 where Targets is -1, and where another rank
// scores it. (N) float32
func (r *Runner) Score(b *Batch) ([]float32, error) {
	if err := b.Fits(r.M.V); err != nil {
		return nil, err
	}
	out := make([]float32, b.N())
	var err error
	r.frame(b, false, func(p *pass) {
		defer p.store.finish()
		first, end := 0, p.g.tiles()
		if p.g.divided() {
			first, end = p.g.own, p.g.own+1
		}
		for i := first; i < end && err == nil && !r.stopped(); i++ {
			r.run(p, rowCells(i, r.M.L, false))
			p.strips(func() {
				n := p.n()
				nf := p.norm.Rows(0, n)
				r.last(nf, p.scratch.lse.Rows(0, n*r.M.stats(FinalNorm)), p.of(p.stream(r.M.L))) // lse is free between layers
				r.B.HeadLoss(&ops.HeadLoss{X: nf, W: r.M.Head, Targets: p.of(p.targets), NLL: p.of(p.nll), Cap: r.M.LogitsCap,
					Logits: p.logits})
			})
			err = r.B.Download(bytesOf(out[p.at.t0:p.at.t1]), p.of(p.nll))
		}
	})
	return out, err
}
