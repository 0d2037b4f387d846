package model

import "testing"

// As many layers as a tiling says keep more, and as many take turns in the slots; the last layer keeps all that it can.
func TestPolicies(t *testing.T) {
	for L := 1; L <= 12; L++ {
		for _, keep := range []Keep{KeepAll, KeepAttn, KeepOut, KeepInput} {
			for more := range L {
				for moved := range 2 * (MostMoved(L) + 1) {
					tl, last := Tiling{Tile: 64, Keep: keep, More: more, Moved: moved / 2, MLPRows: 32}, min(keep, KeepAttn)
					if moved%2 == 1 { // gate and up of the last layer are then made whole, and still there
						tl.MLPRows, last = 64, KeepAll
					}
					turns, kept, resident := 0, 0, 0
					for l := range L {
						if l == L-1 {
							if k := tl.KeepOf(l, L); k != last || tl.inTurn(l, L) {
								t.Errorf("%d layers, %+v: the last keeps %s, in a slot %v", L, tl, k, tl.inTurn(l, L))
							}
							continue
						}
						more := tl.KeepOf(l, L) != keep
						if more && tl.KeepOf(l, L) != keep-1 {
							t.Errorf("%d layers, %+v: layer %d keeps %s", L, tl, l, tl.KeepOf(l, L))
						}
						if more {
							kept++
						}
						if tl.inTurn(l, L) {
							turns++
						} else if !more {
							resident++
						}
					}
					if want := tl.Moved + slots; tl.Moved > 0 && turns != want || tl.Moved == 0 && turns != 0 {
						t.Errorf("%d layers, %+v: %d layers take turns", L, tl, turns)
					}
					if want := more; keep > KeepAll && kept != want || keep == KeepAll && kept != 0 {
						t.Errorf("%d layers, %+v: %d keep more", L, tl, kept)
					}
					if keep > KeepAll && resident > 0 && kept > L-1-turns-resident {
						t.Errorf("%d layers, %+v: %d layers that are moved keep more, %d with memory of their own do not", L, tl, kept, resident)
					}
				}
			}
		}
	}
}

// A tiling says in words what is kept; policies come back from their names.
func TestKept(t *testing.T) {
	for want, tl := range map[string]Tiling{
		"all":                                {},
		"attn, 1 layer moved to host memory": {Keep: KeepAttn, Moved: 1},
		"all in 1 layer, attn in the others": {Keep: KeepAttn, More: 1},
		"attn in 2 layers, out in the others, 3 layers moved to host memory": {Keep: KeepOut, More: 2, Moved: 3},
	} {
		if got := tl.Kept(); got != want {
			t.Errorf("%+v: %q, want %q", tl, got, want)
		}
	}
	for _, k := range []Keep{KeepAll, KeepAttn, KeepOut, KeepInput} {
		name, err := k.MarshalText()
		var back Keep
		if err2 := back.UnmarshalText(name); err != nil || err2 != nil || back != k {
			t.Errorf("%s came back as %s: %v, %v", k, back, err, err2)
		}
	}
	if err := new(Keep).UnmarshalText([]byte("some")); err == nil {
		t.Error("an unknown policy was read")
	}
}
