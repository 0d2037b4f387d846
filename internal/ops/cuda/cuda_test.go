//go:build cuda

package cuda

import (
	"testing"

	"longlora/internal/ops/optest"
)

// Every operation against float64, on the first device.
func TestOps(t *testing.T) {
	found, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("no GPU here: nothing was judged")
	}
	b, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	n := 0
	optest.Run(b, "", func(r optest.Result) {
		n++
		if !r.OK() {
			t.Error(r)
		} else if testing.Verbose() {
			t.Log(r)
		}
	})
	t.Logf("%d outputs judged on %s", n, found[0].Name)
}
