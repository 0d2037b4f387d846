package dist

import (
	"time"

	"longlora/internal/ops"
)

// Device is what a group does in the memory of GPUs: the same operations between the ranks' cards. Calls enqueue on the
// backend's stream, as operations do.
type Device interface {
	// Sum puts in the place of t, float32, the sum of all ranks' t.
	Sum(t ops.Tensor)
	// Abort ends what was begun, with results of no use; the ranks can do nothing together from then on. It may be called
	// while another goroutine waits for the device.
	Abort()
}

// Use has sums of device memory go through d from now on.
func (g *Group) Use(d Device) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.device = d
}

// Direct reports whether cards give each other their sums without the host's memory between.
func (g *Group) Direct() bool { return g.device != nil }

// stageBytes is how much of a card's memory goes through the host's at a time where there is no other way.
const stageBytes = 16 << 20

// SumOn puts in the place of t, float32 in a backend's memory, the sum of all ranks' t, and waits for it.
func (g *Group) SumOn(be ops.Backend, t ops.Tensor) error {
	if g.Size() == 1 {
		return nil
	}
	if g.device != nil {
		begun := time.Now()
		g.device.Sum(t)
		err := be.Sync()
		ring := int(t.Bytes()) / g.size * 2 * (g.size - 1)
		g.traffic.Sums.exchanged(ring, ring, begun)
		return err
	}
	flat := t.Reshape(t.Elems())
	if _, card := be.(ops.Card); !card {
		return g.Sum(flat.F32())
	}
	for lo := 0; lo < t.Elems(); lo += stageBytes / 4 {
		part := flat.Rows(lo, min(t.Elems(), lo+stageBytes/4))
		x := make([]float32, part.Elems())
		if err := be.Download(bytesOf(x), part); err != nil {
			return err
		}
		if err := g.Sum(x); err != nil {
			return err
		}
		be.Upload(part, bytesOf(x))
	}
	return nil
}
