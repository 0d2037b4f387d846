package extend

import (
	"fmt"
	"strings"
	"testing"
)

// A plan that was said before the work began is said again only where it is another one.
func TestOncePlan(t *testing.T) {
	var b strings.Builder
	o := &once{w: &b, said: map[string]bool{}}
	line := func(base, tile string) {
		fmt.Fprintf(o, "memory      %s MiB planned: process %s MiB (tile %s,\n            keeping all); weights mapped\n", base, base, tile)
	}
	line("5", "1024")
	o.begin()
	line("6", "1024")
	line("6", "512")
	fmt.Fprintln(o, "memory of something else")
	if got := b.String(); strings.Count(got, "planned") != 2 || strings.Count(got, "1024") != 1 || !strings.Contains(got, "else") {
		t.Errorf("%s", got)
	}
}
