package ckpt

import (
	"slices"
	"testing"

	"longlora/internal/tensor"
)

// Every range of a matrix with some other rows has the values of the right tensor, also ranges that begin and end
// within a row, and of either type.
func TestPatched(t *testing.T) {
	under, over := make([]float32, 5*3), make([]float32, 2*3)
	for i := range under {
		under[i] = float32(i)
	}
	for i := range over {
		over[i] = float32(100 + i)
	}
	want := slices.Concat(under[:3], over[3:], under[6:12], over[:3]) // rows 1 and 4, the second one first
	base := FromFloats("w", tensor.Shape{5, 3}, under)
	for _, typed := range []tensor.DType{tensor.F32, tensor.BF16} {
		rows := Tensor{Name: "delta", DType: typed, Shape: tensor.Shape{2, 3}, data: AppendFloats(nil, over, typed)}
		p := base.patch(rows, []int{4, 1})
		if p.DType != tensor.F32 || !p.Patched() || base.Patched() {
			t.Errorf("type %v, patched %v, its base %v", p.DType, p.Patched(), base.Patched())
		}
		for lo := range want {
			for hi := lo + 1; hi <= len(want); hi++ {
				got := make([]float32, hi-lo)
				if p.Range(got, lo); !slices.Equal(got, want[lo:hi]) {
					t.Fatalf("%v: %d to %d: %v, want %v", typed, lo, hi, got, want[lo:hi])
				}
			}
		}
		if cut := p.Rows(2).Floats(); !slices.Equal(cut, want[:6]) || !slices.Equal(p.Floats(), want) {
			t.Errorf("%v: two rows are %v, all %v", typed, cut, p.Floats())
		}
	}
	// a base that lies column by column, as a transposed tensor of a .bin does
	columns := make([]float32, 0, len(under))
	for c := range 3 {
		for r := range 5 {
			columns = append(columns, under[3*r+c])
		}
	}
	across := Tensor{Name: "w", DType: tensor.F32, Shape: base.Shape, view: &strided{from: AppendFloats(nil, columns, tensor.F32), stride: []int{1, 5}}}
	if got := across.patch(FromFloats("delta", tensor.Shape{2, 3}, over), []int{4, 1}).Floats(); !slices.Equal(got, want) {
		t.Errorf("over a transposed base: %v, want %v", got, want)
	}
	low := Tensor{DType: tensor.BF16, Shape: base.Shape, data: AppendFloats(nil, under, tensor.BF16)}
	rows := Tensor{DType: tensor.BF16, Shape: tensor.Shape{2, 3}, data: AppendFloats(nil, over, tensor.BF16)}
	if p := low.patch(rows, []int{4, 1}); p.DType != tensor.BF16 || !slices.Equal(p.Data(), AppendFloats(nil, want, tensor.BF16)) {
		t.Errorf("of one type: %v, %v", p.DType, p.Floats())
	}
}
