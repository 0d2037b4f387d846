//go:build cuda

package cuda

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// open takes the first device, or skips the test where there is none.
func open(t testing.TB) *Backend {
	t.Helper()
	found, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("no GPU here")
	}
	b, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func asBytes(v []uint16) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 2*len(v))
}

// What the device holds is what was counted: the context, the workspace, arenas and weights, to 2 MiB a region.
func TestMemoryIsCounted(t *testing.T) {
	b := open(t)
	file, version := b.BLAS()
	t.Logf("%+v; context %d MiB; cuBLASLt %d from %s", b.Info(), b.ContextBytes()>>20, version, file)
	used := func() int64 {
		n, err := b.Used()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := used()
	const arena, weights = 300 << 20, 100 << 20
	p, err := b.Reserve(ops.Device, arena, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ReserveWeights(weights); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := b.Weight(stored(tensor.BF16, weights/20, make([]byte, weights/10))); err != nil {
			t.Fatal(err)
		}
	}
	if got := used() - before; got < arena+weights || got > arena+weights+4<<20 {
		t.Errorf("%d bytes in use for %d", got, arena+weights)
	}
	b.Free(ops.Device, p, arena)
	if _, err := b.Reserve(ops.Device, 1<<50, "test"); errs.Code(err) != int(errs.NoFit) {
		t.Errorf("a region of 2^50 bytes: %v", err)
	}
}

// stored is a vector of n elements as a file has it.
func stored(d tensor.DType, n int, data []byte) tensor.Stored {
	return tensor.Stored{Format: tensor.Dense(d), Shape: tensor.Shape{n}, Data: data}
}

// Weights of every type arrive in bfloat16, long ones in pieces.
func TestWeights(t *testing.T) {
	b := open(t)
	r := rand.New(rand.NewPCG(1, 2))
	const n = 100<<20 + 13
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16, tensor.F32} {
		data, want := make([]byte, n*d.Size()), make([]uint16, n)
		for i := range n {
			u := r.Uint32() &^ (1<<30 | 1<<14) // no NaN, no Inf
			if d == tensor.F32 {
				binary.LittleEndian.PutUint32(data[4*i:], u)
				want[i] = tensor.F32ToBF16(math.Float32frombits(u))
				continue
			}
			binary.LittleEndian.PutUint16(data[2*i:], uint16(u))
			if want[i] = uint16(u); d == tensor.F16 {
				want[i] = tensor.F32ToBF16(tensor.F16ToF32(uint16(u)))
			}
		}
		start := time.Now()
		w, err := b.Weight(stored(d, n, data))
		if err == nil {
			err = b.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.2f GB/s of the file", d, float64(len(data))/time.Since(start).Seconds()/1e9)
		got := make([]uint16, n)
		start = time.Now()
		if err := b.Download(asBytes(got), w.Dense()); err != nil {
			t.Fatal(err)
		}
		t.Logf("download %.2f GB/s", 2*n/time.Since(start).Seconds()/1e9)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: element %d is %#x, want %#x", d, i, got[i], want[i])
			}
		}
	}
}

// An error waits for the next Sync, once.
func TestErrorsAreKept(t *testing.T) {
	b := open(t)
	p, err := b.Reserve(ops.Device, 1<<16, "test")
	if err != nil {
		t.Fatal(err)
	}
	x := ops.Tensor{P: p, DType: tensor.BF16, Shape: tensor.Shape{4, 1, 8}}
	f := ops.Tensor{P: p, DType: tensor.F32, Shape: tensor.Shape{1, 4}}
	b.AttnForward(&ops.Attn{H: 1, Hkv: 1, D: 8, Scale: 1, Docs: []int32{0, 4}, Spec: s2attn.Spec{Mode: s2attn.Roll, Group: 2},
		Q: x, K: x, V: x, O: x, LSE: f})
	if err := b.Sync(); errs.Code(err) != int(errs.Usage) {
		t.Errorf("roll on a GPU: %v", err)
	}
	if err := b.Sync(); err != nil {
		t.Errorf("the error came twice: %v", err)
	}
	start := time.Now()
	const calls = 20000
	for range calls {
		b.Zero(f)
	}
	each := time.Since(start) / calls
	if err := b.Sync(); err != nil {
		t.Error(err)
	}
	t.Logf("%v a call", each)
	b.Free(ops.Device, p, 1<<16)
}
