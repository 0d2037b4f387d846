package plan

import (
	"testing"

	"longlora/internal/errs"
)

// A plan keeps within both limits to the byte: what it takes is enough for it, and a byte less gives another plan that
// takes less, or none.
func TestLimitsAreKept(t *testing.T) {
	w := on7b(16384)
	w.Desc.L, w.Spec.Group = 6, 2048
	for _, lim := range []Limits{{8 * gib, gib}, {10 * gib, 4 * gib}, {13 * gib, 4 * gib}, {13 * gib, 100 << 20}} {
		for range 4 {
			p := h100(lim.Device, lim.Host)
			pl, err := p.choose(w)
			if err != nil {
				if errs.Code(err) != int(errs.NoFit) {
					t.Error(err)
				}
				break
			}
			if pl.Device > lim.Device || pl.Host > lim.Host {
				t.Fatalf("%d bytes of the device and %d of the host are allowed; tile %d, %s takes %d and %d", lim.Device, lim.Host, pl.Tile, pl.Kept(), pl.Device, pl.Host)
			}
			exact := Limits{Device: pl.Device, Host: pl.Host}
			again, err := h100(exact.Device, exact.Host).choose(w)
			if err != nil || again.Seconds(p.Rates, 1) > 1.015*pl.Seconds(p.Rates, 1) { // copies that nothing waits for count a little
				t.Errorf("with just what tile %d, %s takes: tile %d, %s, %v", pl.Tile, pl.Kept(), again.Tile, again.Kept(), err)
			}
			if lim = exact; pl.Host > 64<<20 {
				lim.Host--
			} else {
				lim.Device--
			}
		}
	}
}
