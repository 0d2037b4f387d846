package cpu

import (
	"fmt"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

const copyBlock = 1 << 16 // elements of an elementwise loop that one worker takes at a time

// Upload implements ops.Transfer.
func (b *Backend) Upload(dst ops.Tensor, src []byte) {
	if int64(len(src)) != dst.Bytes() {
		panic(fmt.Sprintf("cpu: upload of %d bytes into %d", len(src), dst.Bytes()))
	}
	copy(dst.Raw(), src)
}

// Download implements ops.Transfer.
func (b *Backend) Download(dst []byte, src ops.Tensor) error {
	if int64(len(dst)) != src.Bytes() {
		panic(fmt.Sprintf("cpu: download of %d bytes into %d", src.Bytes(), len(dst)))
	}
	if err := b.Sync(); err != nil {
		return err
	}
	copy(dst, src.Raw())
	return nil
}

// Zero implements ops.Transfer.
func (b *Backend) Zero(dst ops.Tensor) {
	raw := dst.Raw()
	b.pool.blocks(len(raw), copyBlock*4, func(lo, hi, _ int) { clear(raw[lo:hi]) })
}

// Convert implements ops.Transfer.
func (b *Backend) Convert(dst, src ops.Tensor) {
	if dst.Elems() != src.Elems() {
		panic(fmt.Sprintf("cpu: convert %v to %v", src.Shape, dst.Shape))
	}
	if dst.DType == src.DType {
		copy(dst.Raw(), src.Raw())
		return
	}
	b.pool.blocks(dst.Elems(), copyBlock, func(lo, hi, _ int) {
		switch {
		case dst.DType == tensor.F32:
			widen(dst.F32()[lo:hi], src.Half()[lo:hi], src.DType)
		case src.DType == tensor.F32:
			narrow(dst.Half()[lo:hi], src.F32()[lo:hi], dst.DType)
		default:
			panic("cpu: convert " + src.DType.String() + " to " + dst.DType.String())
		}
	})
}

// widen converts 16-bit floats of type d to float32.
func widen(dst []float32, src []uint16, d tensor.DType) {
	if d == tensor.BF16 {
		for i, v := range src {
			dst[i] = tensor.BF16ToF32(v)
		}
		return
	}
	for i, v := range src {
		dst[i] = tensor.F16ToF32(v)
	}
}

// narrow rounds float32 to 16-bit floats of type d.
func narrow(dst []uint16, src []float32, d tensor.DType) {
	if d == tensor.BF16 {
		for i, v := range src {
			dst[i] = tensor.F32ToBF16(v)
		}
		return
	}
	for i, v := range src {
		dst[i] = tensor.F32ToF16(v)
	}
}

// CopyRows implements ops.Transfer.
func (b *Backend) CopyRows(dst, src ops.Tensor, c ops.Block) {
	if dst.DType != src.DType {
		panic("cpu: copy of " + src.DType.String() + " to " + dst.DType.String())
	}
	size := dst.DType.Size()
	to, from := dst.Raw(), src.Raw()
	n := c.Cols * size
	b.pool.blocks(c.Rows, max(1, copyBlock/max(c.Cols, 1)), func(lo, hi, _ int) {
		for r := lo; r < hi; r++ {
			i, j := (c.DstOff+r*c.DstStride)*size, (c.SrcOff+r*c.SrcStride)*size
			copy(to[i:i+n], from[j:j+n])
		}
	})
}

// AddRows implements ops.Transfer.
func (b *Backend) AddRows(dst, src ops.Tensor, c ops.Block) {
	to, from := dst.F32(), src.F32()
	b.pool.blocks(c.Rows, max(1, copyBlock/max(c.Cols, 1)), func(lo, hi, _ int) {
		for r := lo; r < hi; r++ {
			x := from[c.SrcOff+r*c.SrcStride:]
			for i, y := 0, to[c.DstOff+r*c.DstStride:]; i < c.Cols; i++ {
				y[i] += x[i]
			}
		}
	})
}

// Send implements ops.Carrier: there is one memory, and the copy is done at once.
func (b *Backend) Send(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	b.CopyRows(dst, src, c)
	return ops.Ticket{}
}

// Fetch implements ops.Carrier.
func (b *Backend) Fetch(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	b.CopyRows(dst, src, c)
	return ops.Ticket{}
}

// Bring implements ops.Carrier.
func (b *Backend) Bring(dst, src ops.Tensor, c ops.Block) ops.Ticket { return b.Fetch(dst, src, c) }

// Share implements ops.Carrier.
func (b *Backend) Share(dst, src ops.Tensor, c ops.Block) ops.Ticket { return b.Fetch(dst, src, c) }

// Wait implements ops.Carrier.
func (b *Backend) Wait(ops.Ticket) {}
