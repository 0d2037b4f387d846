package ops

import (
	"unsafe"

	"longlora/internal/tensor"
)

// Sharer is a backend that gives other processes of its machine memory to read. Regions of Reserve(Shared, …) can be
// exported; of what others exported, Carrier's Share reads.
type Sharer interface {
	// Export says where other processes find a region.
	Export(p unsafe.Pointer, bytes int64) ([]byte, error)
	// Import maps a region that a process exported, this one too; its owner must not give it back before it is unmapped.
	Import(where []byte) (unsafe.Pointer, error)
	// Unmap ends what Import began.
	Unmap(p unsafe.Pointer, bytes int64) error
}

// ArenaAt hands out what would lie in a region of memory of so many bytes: nothing need be there.
func ArenaAt(base unsafe.Pointer, space Space, size int64) *Arena {
	if base == nil {
		return CountingArena("", space)
	}
	return &Arena{Space: space, base: base, size: size}
}

// Size is the length of the arena's region in bytes.
func (a *Arena) Size() int64 { return a.size }

// Base is where the arena's region begins; nil where it only counts.
func (a *Arena) Base() unsafe.Pointer { return a.base }

// filledAtOnce is how many bytes of a matrix are copied, or converted, at a time.
const filledAtOnce = 64 << 20

// FillPart writes what of a stored matrix belongs into own, int32: bytes [lo, lo+own.Bytes()) of memory in which the
// weight lies somewhere after base. lo and own's length are multiples of Align.
func (w *Weight) FillPart(b Transfer, s tensor.Stored, base unsafe.Pointer, own Tensor, lo int64) error {
	if err := w.takes(s); err != nil {
		return err
	}
	x := s.Scales
	for i, from := range [][]byte{s.Data, x.Map, x.Absmax, x.NestedMap, x.NestedAbsmax} {
		if len(from) == 0 {
			continue
		}
		off, ratio := int64(uintptr(*w.parts()[i]))-int64(uintptr(base)), int64(1)
		narrow := i == 0 && s.Format != w.Format
		if narrow {
			ratio = int64(s.Format.Type.Size() / w.Format.Type.Size())
		}
		end := min(off+int64(len(from))/ratio, lo+own.Bytes())
		for at := max(off, lo); at < end; at += filledAtOnce {
			n := min(end-at, filledAtOnce)
			part, room := from[(at-off)*ratio:(at-off+n)*ratio], (n+3)/4*4 // what is rounded up to lies between parts
			if narrow || n != room {
				made := make([]byte, room)
				if narrow {
					byPieces(int(n), func(lo, hi int) {
						tensor.Narrow(made[lo:hi], part[int64(lo)*ratio:int64(hi)*ratio], s.Format.Type)
					})
				} else {
					copy(made, part)
				}
				part = made
			}
			b.Upload(own.Rows(int(at-lo)/4, int(at-lo+room)/4), part)
		}
	}
	return nil
}
