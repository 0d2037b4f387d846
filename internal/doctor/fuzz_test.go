package doctor

import (
	"slices"
	"strings"
	"testing"
)

// What is said of a CPU stands in the text: as many processors as lines, no more cores than those, known sets only.
func FuzzCPUInfo(f *testing.F) {
	f.Add("processor\t: 0\nmodel name\t: A CPU\nphysical id\t: 0\ncore id\t: 0\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\ncore id\t: 1\n")
	f.Add("processor\t: 0\nFeatures\t: fp asimd sve\nprocessor:\nflags:\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseCPU(text)
		if n := strings.Count(text, "processor"); c.Logical > n {
			t.Errorf("%d processors, %d lines", c.Logical, n)
		}
		if n := strings.Count(text, "core id"); c.Cores > n {
			t.Errorf("%d cores, %d lines", c.Cores, n)
		}
		for _, s := range c.Sets {
			if !slices.Contains(sets, s) || !strings.Contains(text, s) {
				t.Errorf("%q is none of the text's sets", s)
			}
		}
		if strings.Contains(c.Model, "\n") {
			t.Errorf("a name of several lines: %q", c.Model)
		}
		if v := parseDriver(text); v != "" && (!strings.Contains(text, v) || strings.Trim(v, "0123456789.") != "") {
			t.Errorf("%q is no version in the text", v)
		}
	})
}
