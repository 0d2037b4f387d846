package plan

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// What only goes forward takes just the memory that was planned: a row that is scored, and a session that grows.
func TestForwardIsExact(t *testing.T) {
	d := model.Desc{C: 64, F: 176, L: 3, H: 4, Hkv: 2, D: 16, V: 300, Eps: 1e-5}
	b := cpu.New(1)
	p := Planner{Machine: machine.Here(b), Limits: Limits{Host: gib}}
	split := s2attn.Spec{Mode: s2attn.Split, Group: 600}
	for _, c := range []struct {
		kind Kind
		spec s2attn.Spec
		n    int
	}{
		{Score, split, 1900}, {Score, s2attn.Spec{Mode: s2attn.Full}, 1900}, {Score, s2attn.Spec{Mode: s2attn.Roll, Group: 600}, 1800},
		{Session, s2attn.Spec{Mode: s2attn.Full}, 1500}, {Session, s2attn.Spec{Mode: s2attn.Full}, 7},
	} {
		t.Run(fmt.Sprintf("%d/%v/%d", c.kind, c.spec.Mode, c.n), func(t *testing.T) {
			pl, err := p.choose(Work{Kind: c.kind, Desc: d, Train: model.Train{Frozen: true}, Weight: model.AllIn(tensor.Dense(tensor.BF16)), Spec: c.spec, Ctx: c.n, Batch: 1})
			if err != nil {
				t.Fatal(err)
			}
			arenas := map[string]*ops.Arena{}
			for name, size := range map[string]int64{"params": pl.Params, "act": pl.Act, "halo": pl.Halo} {
				if arenas[name], err = ops.NewArena(b, name, ops.Device, size); err != nil {
					t.Fatal(err)
				}
				defer arenas[name].Free(b)
			}
			zeros, shapes := make([]byte, 2*d.V*d.C), map[string]tensor.Shape{}
			for _, s := range d.Tensors() {
				shapes[s.Name] = s.Shape
			}
			m, err := model.New(b, d, model.Train{Frozen: true}, func(name string) (tensor.Stored, error) {
				return tensor.Stored{Format: tensor.Dense(tensor.BF16), Shape: shapes[name], Data: zeros[:2*shapes[name].Elems()]}, nil
			}, model.Memory{Params: arenas["params"]})
			if err != nil {
				t.Fatal(err)
			}
			rope := model.Rope{Inv: make([]float32, d.D/2), Scale: 1}
			r := model.NewRunner(m, b, c.spec, rope, pl.Tiling, arenas["act"], arenas["halo"])
			if c.kind == Score {
				_, err = r.Score(&model.Batch{IDs: make([]int32, c.n), Targets: make([]int32, c.n), Docs: []int32{0, int32(c.n)}})
			} else {
				s := r.NewSession(c.n)
				err = s.Append(make([]int32, c.n)...)
				s.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if act, halo := arenas["act"].Peak(), arenas["halo"].Peak(); act != pl.Act || halo != pl.Halo || arenas["params"].Peak() != pl.Params {
				t.Errorf("activations %d and halos %d bytes used, %d and %d planned", act, halo, pl.Act, pl.Halo)
			}
		})
	}
}

// on7bForward is a session of 7B, or a row to score.
func on7bForward(k Kind, ctx int) Work {
	return Work{Kind: k, Desc: model.Shapes["llama2-7b"], Train: model.Train{Frozen: true}, Weight: model.AllIn(tensor.Dense(tensor.BF16)),
		Spec: s2attn.Spec{Mode: s2attn.Full}, Ctx: ctx, Batch: 1, IDs: 12 * int64(ctx)}
}

// The longest tile that fits is taken. A row that is scored in groups needs no room for a session's keys and values.
// Where no tile fits with all weights on the device, as few layers as fit are streamed: of a session, whose every token
// reads them, the fewest of any tile, and of a row those of the longest tile.
func TestForwardTiles(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		device int64 // MiB
		forced int   // -1: free
		tile   int   // 0: nothing fits
		stream int
	}{{Session, 40 << 10, -1, 8192, 0}, {Session, 31000, -1, 4096, 0}, {Session, 27 << 10, 0, 0, 0}, {Session, 27 << 10, -1, 2048, 9},
		{Session, 40 << 10, 5, 8192, 5}, {Score, 27 << 10, -1, 8192, 0}, {Score, 14500, -1, 4096, 0}, {Score, 12 << 10, 0, 0, 0},
		{Score, 12 << 10, -1, 8192, 9}, {Score, 4 << 10, -1, 8192, 30}, {Score, 2 << 10, -1, 0, 0}} {
		w := on7bForward(c.kind, 1<<15)
		if c.kind == Score {
			w.Spec = s2attn.Spec{Mode: s2attn.Split, Group: 2048}
		}
		if c.forced >= 0 {
			w.Forced.Stream = &c.forced
		}
		p := h100(c.device<<20, 64*gib)
		pl, err := p.choose(w)
		if fits := err == nil; fits != (c.tile > 0) || fits && (pl.Tile != c.tile || pl.Stream != c.stream) {
			t.Errorf("kind %d in %d MiB: tile %d, %d streamed, %d MiB, %v; want %d, %d", c.kind, c.device, pl.Tile, pl.Stream, pl.Device>>20, err, c.tile, c.stream)
		}
		if fits, err2 := p.fits(w); fits != (err == nil) || err2 != nil {
			t.Errorf("kind %d in %d MiB: fits %v (%v)", c.kind, c.device, fits, err2)
		}
	}
}

// What does not fit says what would, by the option that asks for it; where none does, or none helps, what to raise.
func TestForwardRefusal(t *testing.T) {
	p := h100(20*gib, 64*gib)
	at := func(n int) (Work, error) {
		w := on7bForward(Session, n)
		w.Prompt = 100
		return w, nil
	}
	_, err := p.Plan(Request{Ctx: 100100, At: at})
	n := 0
	text := ""
	if errs.Code(err) == int(errs.NoFit) {
		text = err.Error()
		_, after, _ := strings.Cut(text, "the longest context that fits is ")
		_, _ = fmt.Sscanf(after, "%d.", &n)
	}
	if n == 0 || !strings.HasPrefix(text, "--max-tokens 100000 after 100 tokens of prompt does not fit: the smallest plan (tile 1024) needs ") ||
		!strings.HasSuffix(text, ". For 100100 tokens raise --device-mem") {
		t.Fatalf("%d: %v", n, err)
	}
	if ok, err := p.fits(on7bForward(Session, n)); !ok || err != nil {
		t.Errorf("%d tokens do not fit: %v", n, err)
	}
	if ok, err := p.fits(on7bForward(Session, n+n/100+64)); ok || err != nil {
		t.Errorf("more than %d tokens fit: %v", n, err)
	}
	_, err = p.Plan(Request{Ctx: 100100, At: at, To: func(int) errs.Advice { return nil }})
	if err == nil || err.Error() != text {
		t.Errorf("where no option asks for it: %v", err)
	}
	// operations are not counted: over the tiles of a very long sequence that would take minutes
	if pl, err := p.choose(on7bForward(Session, 1<<24)); errs.Code(err) != int(errs.NoFit) || pl.Cost != (ops.Cost{}) {
		t.Errorf("2^24 tokens: %+v, %v", pl.Cost, err)
	}
	_, err = h100(gib, gib).Plan(Request{Ctx: 100100, At: at})
	if errs.Code(err) != int(errs.NoFit) || !strings.Contains(err.Error(), "no context fits, however short: use a smaller model or another machine, or raise --device-mem") {
		t.Errorf("in 1 GiB: %v", err)
	}
}
