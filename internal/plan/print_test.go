package plan

import "testing"

func TestRate(t *testing.T) {
	for v, want := range map[float64]string{0.0123: "0.0123", 3.14159: "3.14", 999.4: "999", 999.9: "1000", 17122.4: "17100"} {
		if got := rate(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
