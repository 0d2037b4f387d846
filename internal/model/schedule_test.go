package model

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/testkit/table"
)

var linearNames = [linears]string{"q", "k", "v", "o", "gate", "up", "down"}

// diary is a backend that counts and writes down which layers' products it is asked for, and when the weights were used.
type diary struct {
	*ops.Counter
	m    *Model
	text strings.Builder
	open int // the layer that may be used, -1 for none
	t    *testing.T
}

func (y *diary) begin(iter.Seq[cell]) {}

func (y *diary) use(l int) {
	y.open = l
	fmt.Fprintf(&y.text, "use %d:", l)
}

func (y *diary) spent(l int) {
	if y.open != l {
		y.t.Errorf("layer %d is spent, layer %d was used", l, y.open)
	}
	y.open = -1
	y.text.WriteString("\n")
}

// product writes a layer's linear layer down; the layer must be in use.
func (y *diary) product(l *ops.Linear, sign string) {
	for i := range y.m.Layers {
		for t := range y.m.Layers[i].Lin {
			if l == &y.m.Layers[i].Lin[t] {
				if i != y.open {
					y.t.Errorf("%s of layer %d while layer %d is in use", linearNames[t], i, y.open)
				}
				fmt.Fprintf(&y.text, " %s%s", sign, linearNames[t])
			}
		}
	}
}

func (y *diary) LinearForward(x, keys ops.Tensor, p []ops.Proj) {
	for _, q := range p {
		y.product(q.L, "")
	}
	y.Counter.LinearForward(x, keys, p)
}

func (y *diary) LinearBackward(dx, x, keys ops.Tensor, p []ops.ProjGrad) {
	for _, q := range p {
		y.product(q.L, "d")
	}
	y.Counter.LinearBackward(dx, x, keys, p)
}

func (y *diary) EmbedForward(x ops.Tensor, w ops.Weight, ids ops.Tensor) {
	y.text.WriteString("embed\n")
	y.Counter.EmbedForward(x, w, ids)
}

func (y *diary) HeadLoss(h *ops.HeadLoss) {
	y.text.WriteString("head\n")
	y.Counter.HeadLoss(h)
}

// A layer's matrices are used by cells of that layer alone, between use and spent, and in this order.
func TestWeightsAreUsedInTurn(t *testing.T) {
	d := Desc{C: 8, F: 12, L: 3, H: 2, Hkv: 1, D: 4, V: 16, Eps: 1e-5}
	shapes := map[string]tensor.Shape{}
	for _, s := range d.Tensors() {
		shapes[s.Name] = s.Shape
	}
	var b strings.Builder
	for _, c := range []struct {
		what string
		tl   Tiling
		do   func(r *Runner) error
	}{
		{"a step in one tile", Tiling{Tile: 32, MLPRows: 32, HeadRows: 8}, step},
		{"a step in two tiles, keeping the input", Tiling{Tile: 16, Keep: KeepInput, MLPRows: 16, HeadRows: 8}, step},
		{"a step, keeping attention's output, the MLP in two pieces", Tiling{Tile: 32, Keep: KeepOut, MLPRows: 16, HeadRows: 8}, step},
		{"a score in two tiles", Tiling{Tile: 16, MLPRows: 16, HeadRows: 8}, func(r *Runner) error {
			_, err := r.Score(oneRow(32))
			return err
		}},
		{"a session of 5 tokens and 1", Tiling{Tile: 4, MLPRows: 4, HeadRows: 4}, func(r *Runner) error {
			s := r.NewSession(8)
			defer s.Close()
			err := s.Append(1, 2, 3, 4, 5)
			if err == nil {
				err = s.Append(6)
			}
			return err
		}},
	} {
		y := &diary{Counter: ops.NewCounter(tensor.F32, 0, ops.Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 1}), open: -1, t: t}
		m, err := New(y, d, Train{Whole: map[string]bool{d.arch().Norm + ".weight": true}}, func(name string) (tensor.Stored, error) {
			return tensor.Stored{Shape: shapes[name]}, nil
		}, Memory{Params: ops.CountingArena("parameters", ops.Device)})
		if err != nil {
			t.Fatal(err)
		}
		y.m = m
		r := NewRunner(m, y, s2attn.Spec{Mode: s2attn.Split, Group: 16}, Rope{Inv: make([]float32, 2)}, c.tl,
			ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host))
		r.weights = y
		if err := c.do(r); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n%s\n", c.what, y.text.String())
	}
	table.Hold(t, "schedule.txt", b.String())
}

func step(r *Runner) error {
	r.Step(oneRow(32), 1)
	return nil
}

// oneRow is a row of n tokens.
func oneRow(n int) *Batch {
	return &Batch{IDs: make([]int32, n), Targets: make([]int32, n), Docs: []int32{0, int32(n)}}
}
