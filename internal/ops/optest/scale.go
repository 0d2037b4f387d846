package optest

// scales: res + f·x and f·x, apart and over one of them.
func scales(k *kit) {
	const f = 0.22
	for _, n := range []int{1, 37, 1000, 70001} {
		for _, over := range []string{"", "res", "x"} {
			for _, alone := range []bool{false, true} {
				if alone && over == "res" {
					continue
				}
				k.start("%d elements, over %q, alone %v", n, over, alone)
				k.scale(n, f, over, alone)
			}
		}
	}
}

func (k *kit) scale(n int, f float64, over string, alone bool) {
	res, x, y := &arg{}, k.normal("x", k.act, n), (*arg)(nil)
	if !alone {
		res = k.normal("res", k.act, n)
	}
	switch over {
	case "res":
		res.role, y = inout, res
	case "x":
		x.role, y = inout, x
	default:
		y = k.out("y", k.act, n)
	}
	k.judge(1e-6, func() { k.b.Scale(y.Tensor, res.Tensor, x.Tensor, float32(f)) }, func(r round) [][]float64 {
		want := make([]float64, n)
		for i, v := range x.v {
			want[i] = float64(float32(f)) * v
			if !alone {
				want[i] += res.v[i]
			}
			want[i] = r(want[i])
		}
		return [][]float64{want}
	}, y)
}
