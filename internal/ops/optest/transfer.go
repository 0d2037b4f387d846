package optest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// transfers: what goes to a region comes back, strided blocks go to host memory and return, zero is zero.
func transfers(k *kit) {
	for _, d := range []tensor.DType{k.act, tensor.F32, tensor.I32} {
		for _, n := range []int{1, 7, 1000, 70001} {
			k.start("zero %s %d", d, n)
			z := k.out("z", d, n)
			k.check(func() { k.b.Zero(z.Tensor) }, func(after func(*arg) []byte) string {
				if b := after(z); !bytes.Equal(b, make([]byte, len(b))) {
					return "not all zero"
				}
				return ""
			})
		}
	}
	for _, d := range []tensor.DType{k.act, tensor.F32} {
		for _, c := range [][4]int{{5, 7, 3, 2}, {33, 64, 16, 48}, {1, 9, 9, 0}, {200, 1024, 512, 512}, {64, 130, 65, 65}} {
			copyRows(k, d, c[0], c[1], c[2], c[3])
			if d == tensor.F32 {
				addRows(k, c[0], c[1], c[2], c[3])
			}
			carried(k, d, c[0], c[1])
			brought(k, d, c[0], c[1])
		}
	}
}

// host is a tensor in host memory, to be given back; None, with a fault noted, where there is none to be had.
func (k *kit) host(d tensor.DType, shape ...int) ops.Tensor {
	t := ops.Tensor{DType: d, Shape: shape, Where: ops.Host}
	p, err := k.b.Reserve(ops.Host, t.Bytes(), "optest")
	if err != nil {
		k.fault("%v", err)
		return ops.Tensor{}
	}
	t.P = p
	return t
}

// copyRows takes columns [from, from+cols) of a (rows,wide) tensor to host memory, as a halo's heads are kept, and
// back into another tensor at another place.
func copyRows(k *kit, d tensor.DType, rows, wide, cols, from int) {
	k.start("copy %s %d rows, columns %d to %d of %d, by way of host memory", d, rows, from, from+cols, wide)
	src, dst := k.normal("src", d, rows, wide), k.sum("dst", d, rows, wide)
	packed := k.host(d, rows, cols)
	if packed.None() {
		return
	}
	defer k.b.Free(ops.Host, packed.P, packed.Bytes())
	formula := func(round) [][]float64 {
		want := append([]float64{}, dst.v...)
		for r := range rows {
			copy(want[r*wide+wide-cols:(r+1)*wide], src.v[r*wide+from:r*wide+from+cols])
		}
		return [][]float64{want}
	}
	k.judge(0, func() {
		k.b.Send(packed, src.Tensor, ops.Block{DstStride: cols, SrcOff: from, SrcStride: wide, Rows: rows, Cols: cols})
		k.b.Wait(k.b.Fetch(dst.Tensor, packed, ops.Block{DstOff: wide - cols, DstStride: wide, SrcStride: cols, Rows: rows,
			Cols: cols}))
	}, formula, dst)
	k.start("copy %s %d rows, columns %d to %d of %d, within device memory", d, rows, from, from+cols, wide)
	src, dst = k.normal("src", d, rows, wide), k.sum("dst", d, rows, wide)
	k.judge(0, func() {
		k.b.CopyRows(dst.Tensor, src.Tensor, ops.Block{DstOff: wide - cols, DstStride: wide, SrcOff: from, SrcStride: wide,
			Rows: rows, Cols: cols})
	}, formula, dst)
}

// addRows adds columns [from, from+cols) of a (rows,wide) tensor to the last ones of another, as gradients come back.
func addRows(k *kit, rows, wide, cols, from int) {
	k.start("add %d rows, columns %d to %d of %d", rows, from, from+cols, wide)
	src, dst := k.normal("src", tensor.F32, rows, wide), k.sum("dst", tensor.F32, rows, wide)
	k.judge(1, func() {
		k.b.AddRows(dst.Tensor, src.Tensor, ops.Block{DstOff: wide - cols, DstStride: wide, SrcOff: from, SrcStride: wide,
			Rows: rows, Cols: cols})
	}, func(round) [][]float64 {
		want := append([]float64{}, dst.v...)
		for r := range rows {
			for i := range cols {
				want[(r+1)*wide-cols+i] += src.v[r*wide+from+i]
			}
		}
		return [][]float64{want}
	}, dst)
}

// brought brings what lies in host memory into two places, beside operations that work on a third.
func brought(k *kit, d tensor.DType, rows, wide int) {
	k.start("%d x %d %s brought twice and read", rows, wide, d)
	src, one, two, dst := k.normal("src", d, rows, wide), k.out("one", d, rows, wide), k.out("two", d, rows, wide),
		k.out("dst", d, rows, wide)
	host := k.host(d, rows, wide)
	if host.None() {
		return
	}
	defer k.b.Free(ops.Host, host.P, host.Bytes())
	all := ops.Whole(host)
	k.judge(0, func() {
		k.b.Wait(k.b.Send(host, src.Tensor, all))
		if err := k.b.Sync(); err != nil { // it is filled before
			k.fault("%v", err)
		}
		first := k.b.Bring(one.Tensor, host, all)
		second := k.b.Bring(two.Tensor, host, all)
		k.b.CopyRows(dst.Tensor, src.Tensor, all)
		k.b.Wait(second)
		k.b.CopyRows(dst.Tensor, two.Tensor, all)
		k.b.Wait(first)
	}, func(round) [][]float64 { return [][]float64{src.v, src.v, src.v} }, one, two, dst)
}

// carried sends what an operation has just written, overwrites it once the copy is done, and reads what comes back.
func carried(k *kit, d tensor.DType, rows, wide int) {
	k.start("%d x %d %s written, sent, overwritten, fetched and read", rows, wide, d)
	src, tmp, back, dst := k.normal("src", d, rows, wide), k.out("tmp", d, rows, wide), k.out("back", d, rows, wide),
		k.out("dst", d, rows, wide)
	host := k.host(d, rows, wide)
	if host.None() {
		return
	}
	defer k.b.Free(ops.Host, host.P, host.Bytes())
	all := ops.Whole(host)
	k.judge(0, func() {
		k.b.CopyRows(tmp.Tensor, src.Tensor, all)
		sent := k.b.Send(host, tmp.Tensor, all)
		fetched := k.b.Fetch(back.Tensor, host, all)
		k.b.Wait(sent)
		k.b.Zero(tmp.Tensor)
		k.b.Wait(fetched)
		k.b.CopyRows(dst.Tensor, back.Tensor, all)
	}, func(round) [][]float64 { return [][]float64{make([]float64, rows*wide), src.v, src.v} }, tmp, back, dst)
}

// hard are bit patterns of float32 at which rounding to 16 bits goes wrong if it can.
var hard = []uint32{0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x3f808000, 0x3f818000, 0x3f808001,
	0x3f807fff, 0x7f7fffff,
	0x7f7f8000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x38800000, 0x387fffff, 0x33000000, 0x33000001,
	0x33800000,
	0x477fefff, 0x477ff000, 0x477fe000, 0x3f801000, 0x3f803000, 0x3f801001, 0xbf801000}

// converts: the nearest value, ties to even, bit by bit; any NaN for a NaN.
func converts(k *kit) {
	for _, c := range [][2]tensor.DType{{tensor.F32, tensor.BF16}, {tensor.F32, tensor.F16}, {tensor.BF16, tensor.F32},
		{tensor.F16, tensor.F32},
		{tensor.F32, tensor.F32}, {tensor.BF16, tensor.BF16}} {
		for _, n := range []int{5, 4099} {
			convert(k, c[0], c[1], n)
		}
	}
}

func convert(k *kit, from, to tensor.DType, n int) {
	k.start("%s to %s, %d elements", from, to, n)
	src, dst := k.given("src", from, nil, n), k.out("dst", to, n)
	for i := range n {
		switch u := k.r.Uint32(); {
		case from != tensor.F32:
			src.raw = binary.LittleEndian.AppendUint16(src.raw, uint16(u))
		case i < len(hard) && n > len(hard):
			src.raw = binary.LittleEndian.AppendUint32(src.raw, hard[i])
		case i%2 == 0: // of a size that halves have too
			src.raw = binary.LittleEndian.AppendUint32(src.raw, math.Float32bits(float32(k.r.NormFloat64())))
		default:
			src.raw = binary.LittleEndian.AppendUint32(src.raw, u)
		}
	}
	k.check(func() { k.b.Convert(dst.Tensor, src.Tensor) }, func(after func(*arg) []byte) string {
		got, size := after(dst), to.Size()
		for i, x := range decode(from, src.raw) {
			one := got[i*size : (i+1)*size]
			if x != x {
				if v := decode(to, one)[0]; v == v {
					return fmt.Sprintf("element %d: a NaN became %v", i, v)
				}
				continue
			}
			if want := encode(to, []float64{x}); !bytes.Equal(one, want) {
				return fmt.Sprintf("element %d: %v became %x, want %x", i, x, one, want)
			}
		}
		return ""
	})
}
