package s2attn

import (
	"fmt"
	"strings"
	"testing"
)

// How each step attends, by the share as it is written and the number of steps: s for S², F for full attention.
const shares = `
0       8   ssssssss
0.125   8   sssssssF
.25     8   ssssssFF
0.5     7   sssFFFF
0.1     10  sssssssssF
0.1     11  sssssssssFF
0.3     10  sssssssFFF
3e-1    10  sssssssFFF
0.30    10  sssssssFFF
1e-9    5   ssssF
0.999   5   FFFFF
1       3   FFF
1.000   3   FFF
0.7     1   F
`

func TestShares(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(shares)) {
		var written, want string
		var n int
		if _, err := fmt.Sscan(line, &written, &n, &want); err != nil {
			t.Fatal(err)
		}
		f, err := ParseShare(written)
		if err != nil {
			t.Fatal(err)
		}
		last := f.Last(n)
		if got := strings.Repeat("s", n-last) + strings.Repeat("F", last); got != want {
			t.Errorf("%s of %d steps: %s, want %s", written, n, got, want)
		}
		if f.None() != !strings.Contains(want, "F") {
			t.Errorf("%s: none is %v", written, f.None())
		}
		again, err := ParseShare(f.String())
		if err != nil || again.of.Cmp(&f.of) != 0 {
			t.Errorf("%s is written %s", written, &f)
		}
	}
	// The float next to 0.1 is above it, and would give one step more.
	if f, _ := ParseShare("0.1"); f.Last(1e9) != 1e8 {
		t.Errorf("a tenth of 1e9 is %d", f.Last(1e9))
	}
}

func TestNoShares(t *testing.T) {
	for _, s := range []string{"", "-0.1", "1.0001", "1/4", "0x1p-2", "nan", "inf", "1e", "0,5", "1e99999999999"} {
		if f, err := ParseShare(s); err == nil {
			t.Errorf("%q is read as %s", s, &f)
		}
	}
}

// A share that is read is from 0 to 1, and is read again from how it is written.
func FuzzShare(f *testing.F) {
	for _, s := range []string{"0", "1", "0.125", ".5", "+3e-1", "1e-300", "0x1", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		share, err := ParseShare(s)
		if err != nil || len(s) > 40 {
			return
		}
		if n := share.Last(1000); n < 0 || n > 1000 || (n == 0) != share.None() {
			t.Fatalf("%q: %d of 1000 steps", s, n)
		}
		if again, err := ParseShare(share.String()); err != nil || again.of.Cmp(&share.of) != 0 {
			t.Fatalf("%q is written %s", s, &share)
		}
	})
}
