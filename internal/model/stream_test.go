package model

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/tensor"
	"longlora/internal/testkit/table"
)

// countedModel is a model of so many layers on a backend that counts; the first layer's gate is trained and so not frozen.
func countedModel(t *testing.T, layers int) (*ops.Counter, *Model) {
	t.Helper()
	d := Desc{C: 8, F: 12, L: layers, H: 2, Hkv: 1, D: 4, V: 16, Eps: 1e-5}
	shapes := map[string]tensor.Shape{}
	for _, s := range d.Tensors() {
		shapes[s.Name] = s.Shape
	}
	b := ops.NewCounter(tensor.F32, 0, ops.Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 1})
	m, err := New(b, d, Train{Whole: map[string]bool{"model.layers.0.mlp.gate_proj.weight": true}}, func(name string) (tensor.Stored, error) {
		return tensor.Stored{Shape: shapes[name]}, nil
	}, Memory{Params: ops.CountingArena("parameters", ops.Device)})
	if err != nil {
		t.Fatal(err)
	}
	return b, m
}

// A layer's weights come into a slot whose layer is spent, while the layer before is computed with, and what lies in a
// slot is not brought again: at the turn of a step, between tiles, and between steps.
func TestStreamIsBroughtInTurn(t *testing.T) {
	var out strings.Builder
	for _, c := range []struct {
		what      string
		layers, n int
		runs      []iter.Seq[cell]
	}{
		{"two steps of one tile, 4 of 4 layers streamed", 4, 4, []iter.Seq[cell]{stepCells(1, 4), stepCells(1, 4)}},
		{"a step of one tile, 3 of 6", 6, 3, []iter.Seq[cell]{stepCells(1, 6)}},
		{"two steps of one tile, 2 of 4: nothing comes twice", 4, 2, []iter.Seq[cell]{stepCells(1, 4), stepCells(1, 4)}},
		{"two steps of one tile, 1 of 3", 3, 1, []iter.Seq[cell]{stepCells(1, 3), stepCells(1, 3)}},
		{"a step of two tiles, 3 of 3", 3, 3, []iter.Seq[cell]{stepCells(2, 3)}},
		{"a session of two tokens, 3 of 4", 4, 3, []iter.Seq[cell]{rowCells(appended, 4, false), rowCells(appended, 4, false)}},
	} {
		b, m := countedModel(t, c.layers)
		s := m.countStream(b, c.n, nil, ops.CountingArena("slots", ops.Device), ops.CountingArena("waiting", ops.Host))
		fmt.Fprintf(&out, "%s\n", c.what)
		held := map[int]int{}
		came := func() {
			for i, x := range s.slots {
				if was, ok := held[i]; x.turn >= 0 && (!ok || was != x.turn) {
					held[i] = x.turn
					fmt.Fprintf(&out, "; slot %d: layer %d comes", i, s.waits[x.turn].layer)
				}
			}
			out.WriteString("\n")
		}
		for _, cells := range c.runs {
			out.WriteString("begin")
			s.begin(cells)
			came()
			for c := range cells {
				s.use(c.layer)
				if turn := s.turn[c.layer]; turn >= 0 && s.holder(turn) < 0 {
					t.Errorf("layer %d is used where no slot has it", c.layer)
				}
				fmt.Fprintf(&out, "%d", c.layer)
				s.spent(c.layer)
				came()
			}
		}
		out.WriteString("\n")
	}
	table.Hold(t, "stream.txt", out.String())
}

// What streamed layers take is what their frozen matrices take, and the slots are as large as the largest.
func TestStreamBytes(t *testing.T) {
	_, m := countedModel(t, 4)
	each := int64(0)
	for r := range m.Layers[1].Lin {
		if w := m.Layers[1].Lin[r].W; !w.None() {
			each += ops.Room(w.Format, w.Shape)
		}
	}
	gate := ops.Room(m.Layers[1].Lin[Gate].W.Format, m.Layers[1].Lin[Gate].W.Shape)
	for _, c := range []struct {
		n           int
		host, slots int64
	}{{0, 0, 0}, {1, each, each}, {2, 2 * each, 2 * each}, {3, 3 * each, 2 * each}, {4, 4*each - gate, 2 * each}} {
		if host, slots := m.StreamBytes(c.n); host != c.host || slots != c.slots {
			t.Errorf("%d layers: %d bytes in host memory and %d in slots, want %d and %d", c.n, host, slots, c.host, c.slots)
		}
	}
}

// A cell that does not come next, or a read outside of use and spent, is a fault of the program, not other numbers.
func TestStreamRefuses(t *testing.T) {
	b, m := countedModel(t, 4)
	s := m.countStream(b, 4, nil, ops.CountingArena("slots", ops.Device), ops.CountingArena("waiting", ops.Host))
	s.begin(stepCells(1, 4))
	for what, f := range map[string]func(){
		"the third layer first": func() { s.use(2) },
		"a weight that waits": func() {
			(ops.CountingArena("waiting", ops.Host)).Weight(tensor.Dense(tensor.BF16), tensor.Shape{2, 2}).Dense()
		},
		"a tiling of a model that is not loaded so": func() { m.weightsOf(b, Tiling{Stream: 3}, &ops.Arena{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is let pass", what)
				}
			}()
			f()
		}()
	}
}
