package load

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// What is chosen is how the blocks' matrices come to the model, and nothing else: their values are those of the encoder
// on the values that are stored, those of a quantised base too.
func TestHeld(t *testing.T) {
	for _, dir := range []string{"mha-linear", "families/nf4-plain", "families/phi3"} {
		for _, k := range quant.Kinds {
			b, err := Open("../../testdata/golden/"+dir+"/model", "")
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			plain, quantised := b.As(AsStored).source(true), b.Quantised()
			if err := b.ChooseWeights(k.Name, "", true); err != nil {
				t.Fatal(err)
			}
			if said := slices.ContainsFunc(b.Notes, func(n string) bool { return strings.Contains(n, "encoded anew") }); said != quantised {
				t.Errorf("%s as %s: notes %q", dir, k.Name, b.Notes)
			}
			src := b.source(true)
			for _, s := range b.Desc().Tensors() {
				was, err := plain(s.Name)
				if err != nil {
					t.Fatal(err)
				}
				now, err := src(s.Name)
				if err != nil || now.Check() != nil {
					t.Fatal(err, now.Check())
				}
				values, want, got := make([]float32, s.Shape.Elems()), make([]float32, s.Shape.Elems()), make([]float32, s.Shape.Elems())
				quant.Decode(values, was, 0)
				quant.Decode(got, now, 0)
				f := was.Format
				if s.Linear() {
					f = k.Format(f.Type)
				}
				if now.Format != f || b.Format(s.Name) != f {
					t.Errorf("%s as %s: %s comes as %s, planned %s, want %s", dir, k.Name, s.Name, now.Format, b.Format(s.Name), f)
				}
				again := f.Make(s.Shape, func(n int64) []byte { return make([]byte, n) })
				quant.Encode(&again, func(dst []float32, lo int) { copy(dst, values[lo:]) })
				quant.Decode(want, again, 0)
				if !s.Linear() {
					want = values
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s as %s: %s has other values than its encoding", dir, k.Name, s.Name)
				}
				if second, err := src(s.Name); err != nil || b.anew[s.Name].Code != tensor.Plain && &second.Data[0] != &now.Data[0] {
					t.Errorf("%s as %s: %s was encoded twice (%v)", dir, k.Name, s.Name, err)
				}
			}
			if b.lying != nil && len(b.lying.left) != 0 {
				t.Errorf("%s as %s: %d bytes of %d were counted and not taken", dir, k.Name, len(b.lying.left), b.Made(true))
			}
		}
	}
}

// The record beside an adapter says how weights are held, unless an option does.
func TestHeldBeside(t *testing.T) {
	dir := t.TempDir()
	write := func(weights string) {
		if err := files.WriteSealed(filepath.Join(dir, rundir.RecordFile), map[string]any{"longlora": rundir.Kind, "weights": weights}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		asked, beside string
		follow        bool
		held, note    string
	}{
		{"auto", "", true, "", ""},
		{"", "nf4", true, "nf4", "weights: nf4, as the adapter was trained"},
		{"auto", "nf4", false, "", "weights auto, where the adapter was trained with nf4"},
		{"bf16", "nf4", true, "bf16", "weights bf16, where the adapter was trained with nf4"},
		{"nf4", "nf4", true, "nf4", ""},
	} {
		write(c.beside)
		b, err := Open("../../testdata/golden/mha-linear/model", "")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		b.Notes = nil
		if err := b.ChooseWeights(c.asked, dir, c.follow); err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(b.Notes, "; "); b.Held != c.held || !strings.Contains(said, c.note) || c.note == "" && said != "" {
			t.Errorf("%q asked, %q beside: %q, notes %q", c.asked, c.beside, b.Held, said)
		}
	}
	write("int3")
	b := &Base{}
	if err := b.ChooseWeights("auto", dir, true); errs.Code(err) != 4 {
		t.Errorf("a kind that is not known: %v", err)
	}
}

// NaN has no code; the tensor is named.
func TestHeldNaN(t *testing.T) {
	b, err := Open("../../testdata/golden/mha-linear/model", "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const name = "model.layers.1.mlp.up_proj.weight"
	w := b.Weights.Tensors[name]
	v := w.Floats()
	v[777] = float32(math.NaN())
	b.Weights.Tensors[name] = ckpt.FromFloats(name, w.Shape, v)
	for _, held := range []string{"nf4", "fp8"} {
		x := b.As(held)
		arena := ops.CountingArena("parameters", ops.Device)
		c := ops.NewCounter(tensor.F32, 0, ops.Rates{})
		if _, err = model.New(c, x.Desc(), x.Frozen(), x.source(true), model.Memory{Params: arena}); errs.Code(err) != int(errs.Numeric) {
			t.Fatal(held, err)
		}
		if err := x.Blame(err); !strings.Contains(err.Error(), "element 777 of tensor "+name) {
			t.Error(held, err)
		}
		x.lying.free()
	}
}
