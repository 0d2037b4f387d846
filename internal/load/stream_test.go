package load_test

import (
	"slices"
	"testing"

	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/testkit/backend"
)

// A checkpoint's frozen weights may wait in host memory in whatever format they are stored, codes with their factors
// too, and however a family's modules lie: the losses are the same bits.
func TestStreamedFormats(t *testing.T) {
	for _, name := range []string{"nf4-double", "nf4-plain", "phi3", "gpt-neox", "gemma2", "qwen2"} {
		base, err := load.Open("../../testdata/golden/families/"+name+"/model", "")
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, 48)
		for i := range ids {
			ids[i] = int32(i * i % 97)
		}
		batch := row(ids)
		score := func(be ops.Backend, stream int) []float32 {
			mem := model.Memory{Stream: stream}
			var act, halo *ops.Arena
			for _, a := range []struct {
				to    **ops.Arena
				space ops.Space
			}{{&mem.Params, ops.Device}, {&mem.Slots, ops.Device}, {&mem.Waiting, ops.Host}, {&act, ops.Device}, {&halo, ops.Host}} {
				if *a.to, err = ops.NewArena(be, "test", a.space, 16<<20); err != nil {
					t.Fatal(err)
				}
				defer (*a.to).Free(be)
			}
			m, err := base.New(be, base.Frozen(), mem, 0)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			tl := model.Tiling{Tile: 20, MLPRows: 20, HeadRows: 20, Stream: stream}
			r := model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Full}, base.Rope(base.Positions, 48), tl, act, halo)
			out, err := r.Score(batch)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return out
		}
		want := score(cpu.New(2), 0)
		for stream := 1; stream <= base.Desc().L; stream++ {
			if got := score(backend.NewLate(), stream); !slices.Equal(got, want) {
				t.Errorf("%s, %d layers streamed: other losses", name, stream)
			}
		}
		base.Close()
	}
}
