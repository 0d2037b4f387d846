package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"longlora/internal/dist"
	"longlora/internal/doctor"
	"longlora/internal/ops"
	"longlora/internal/ops/cuda"
	"longlora/internal/tensor"
)

// examineNCCL fills in where the library is, and how to try a sum where there are several GPUs.
func examineNCCL(g *doctor.Given, given bool) {
	where, files := cuda.NCCLPlaces()
	for i := range where {
		g.NCCL.Places = append(g.NCCL.Places, doctor.Place{Where: where[i], Files: files[i]})
	}
	if len(g.GPUs) == 0 {
		return
	}
	lib, err := cuda.OpenNCCL()
	if err != nil {
		if len(g.GPUs) > 1 { // alone it misses nothing
			g.NCCL.Error, _, _ = strings.Cut(err.Error(), ". Looked in")
		}
		return
	}
	file, n := lib.File()
	lib.Close()
	g.NCCL.File, g.NCCL.Version = file, spelled(n)
	if len(g.GPUs) > 1 && !given {
		g.Sum = func() (doctor.Sum, error) { return trySum(len(g.GPUs)) }
	}
}

// spelled is NCCL's as people write it.
func spelled(n int) string { return fmt.Sprintf("%d.%d.%d", n/10000, n/100%100, n%100) }

// trySum sums a vector over the first GPUs, each a goroutine's, and times it.
func trySum(n int) (doctor.Sum, error) {
	const elems = 64 << 20 / 4
	s := doctor.Sum{GPUs: n, Bytes: 4 * elems, Right: true}
	groups := dist.InProcess(n)
	ends, seconds := make([]error, n), make([]float64, n)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() {
			ends[i] = oneSum(g, elems, func(right bool, sec float64) {
				mu.Lock()
				defer mu.Unlock()
				s.Right, seconds[i] = s.Right && right, sec
			})
			if ends[i] != nil {
				_ = g.Break(ends[i])
			}
		})
	}
	wg.Wait()
	s.Seconds = slices.Max(seconds)
	for i, err := range ends {
		if err != nil {
			return s, fmt.Errorf("a sum over %d GPUs: cuda:%d: %w", n, i, err)
		}
	}
	return s, nil
}

// oneSum is one GPU's part of a sum: i+r at element i of rank r.
func oneSum(g *dist.Group, elems int, say func(right bool, sec float64)) error {
	b, err := cuda.Open(g.Rank())
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	lib, err := cuda.OpenNCCL()
	if err != nil {
		return err
	}
	r := rank{group: g, card: 1}
	if err := r.connect(lib, b); err != nil {
		return err
	}
	defer lib.Close()
	arena, err := ops.NewArena(b, "a vector", ops.Device, int64(4*elems))
	if err != nil {
		return err
	}
	defer arena.Free(b)
	t, x := arena.New(tensor.F32, elems), make([]float32, elems)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*elems)
	var times []float64
	right := true
	for range 5 {
		for i := range x {
			x[i] = float32(i%1000 + g.Rank())
		}
		b.Upload(t, raw)
		if err := b.Sync(); err != nil {
			return err
		}
		if err := g.Barrier(); err != nil {
			return err
		}
		begun := time.Now()
		if err := g.SumOn(b, t); err != nil {
			return err
		}
		if err := b.Sync(); err != nil {
			return err
		}
		times = append(times, time.Since(begun).Seconds())
		if err := b.Download(raw, t); err != nil {
			return err
		}
		n := g.Size()
		for i, v := range x {
			right = right && v == float32(n*(i%1000)+n*(n-1)/2)
		}
	}
	slices.Sort(times)
	say(right, times[len(times)/2])
	return nil
}
