package load_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/testkit/backend"
)

// The same of weights that are divided among processes: each has a part of every layer, and reads the others'.
func TestShardedFormats(t *testing.T) {
	for _, name := range []string{"nf4-double", "nf4-plain", "phi3", "qwen2"} {
		base, err := load.Open("../../testdata/golden/families/"+name+"/model", "")
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, 48)
		for i := range ids {
			ids[i] = int32(i * i % 97)
		}
		score := func(be ops.Backend, parts *model.Parts) ([]float32, error) {
			mem := model.Memory{Parts: parts}
			var act, halo *ops.Arena
			arenas := map[**ops.Arena]ops.Space{&mem.Params: ops.Device, &act: ops.Device, &halo: ops.Host}
			tl := model.Tiling{Tile: 20, MLPRows: 20, HeadRows: 20}
			if parts != nil {
				tl.Shard, mem.Shard, arenas[&mem.Slots] = base.Desc().L, base.Desc().L, ops.Device
			}
			for a, space := range arenas {
				var err error
				if *a, err = ops.NewArena(be, "test", space, 16<<20); err != nil {
					return nil, err
				}
			}
			m, err := base.New(be, base.Frozen(), mem, 0)
			if err != nil {
				return nil, err
			}
			return model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Full}, base.Rope(base.Positions, 48), tl, act, halo).Score(row(ids))
		}
		want, err := score(cpu.New(2), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{2, 3} {
			var loaded sync.WaitGroup
			loaded.Add(size)
			where, got, ends := make([][]byte, size), make([][]float32, size), make([]error, size)
			var wg sync.WaitGroup
			for i := range size {
				wg.Go(func() {
					be := backend.NewLate()
					p := &model.Parts{N: size, I: i}
					if p.Own, ends[i] = ops.NewArena(be, "a part", ops.Shared, 1<<20); ends[i] != nil {
						return
					}
					p.Join = func() (at []unsafe.Pointer, err error) {
						where[i], err = be.Export(p.Own.Base(), p.Own.Size())
						loaded.Done()
						loaded.Wait()
						for _, w := range where {
							q, e := be.Import(w)
							at, err = append(at, q), errors.Join(err, e)
						}
						return at, err
					}
					got[i], ends[i] = score(be, p)
				})
			}
			wg.Wait()
			for i := range size {
				if ends[i] != nil || !slices.Equal(got[i], want) {
					t.Errorf("%s, %d processes: number %d has other losses (%v)", name, size, i, ends[i])
				}
			}
		}
		base.Close()
	}
}

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
