package quant

import "math/bits"

// Lanes and rows of the sum below: registers of 8 floats, 4 of them side by side.
const (
	lanes  = 8
	rows   = 4
	levels = 4
)

type vector [lanes]float32

func (v *vector) add(w *vector) {
	for i := range v {
		v[i] += w[i]
	}
}

// mean is PyTorch's of float32 on a CPU with AVX2 and one thread, to the bit: sums of sums, so that rounding grows with
// the logarithm of the length (ATen's cascade sum). Sums of more than 32,768 numbers on several threads, and those of a
// GPU, have other last bits.
func mean(v []float32) float32 {
	whole := len(v) / lanes
	acc := cascade(v, whole/rows)
	for i := whole / rows * rows; i < whole; i++ {
		acc[0].add((*vector)(v[i*lanes:]))
	}
	for r := 1; r < rows; r++ {
		acc[0].add(&acc[r])
	}
	sum := float32(0)
	for _, x := range v[whole*lanes:] {
		sum += x
	}
	for _, x := range acc[0] {
		sum += x
	}
	return sum / float32(len(v))
}

// cascade adds up n groups of 4 registers each. A level's sum moves up when it has taken as many steps as a level has.
func cascade(v []float32, n int) [rows]vector {
	power := max(4, bits.Len(uint(max(n-1, 0)))/levels) // the logarithm rounded up
	step := 1 << power
	var acc [levels][rows]vector
	i := 0
	add := func() {
		for r := range rows {
			acc[0][r].add((*vector)(v[(i*rows+r)*lanes:]))
		}
		i++
	}
	for i+step <= n {
		for range step {
			add()
		}
		for l := 1; l < levels; l++ {
			for r := range rows {
				acc[l][r].add(&acc[l-1][r])
			}
			acc[l-1] = [rows]vector{}
			if i&((step-1)<<(l*power)) != 0 {
				break
			}
		}
	}
	for i < n {
		add()
	}
	for l := 1; l < levels; l++ {
		for r := range rows {
			acc[0][r].add(&acc[l][r])
		}
	}
	return acc[0]
}
