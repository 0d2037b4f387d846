package machine

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/ops"
)

// Rates that are kept are positive, and the same when they are written again.
func FuzzRates(f *testing.F) {
	b, err := json.Marshal(ops.Rates{Linear: 1e11, Attention: 6e10, Bytes: 1e10, Moved: 1e10, Call: 2e-6})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"Linear":-1}`))
	f.Add([]byte(`{"Linear":1e999}`))
	f.Add([]byte(`[]`))
	f.Setenv("XDG_CACHE_HOME", f.TempDir())
	path, err := learnedAt("a card")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		r, kept, err := learned("a card")
		if err != nil {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), path) || len(err.Error()) > 1000 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		if !kept || r.Linear <= 0 || r.Attention <= 0 || r.Bytes <= 0 || r.Moved <= 0 || r.Call < 0 {
			t.Fatalf("%s: %+v, %v", b, r, kept)
		}
		one, err := json.Marshal(r)
		var again ops.Rates
		if err != nil || json.Unmarshal(one, &again) != nil || again != r {
			t.Fatalf("%+v, written again %s (%v)", r, one, err)
		}
	})
}

var kilobytes = regexp.MustCompile(`^([0-9]+)( kB)?$`)

// A line of /proc/meminfo is the number of kB that stands in it, and nothing that would overflow.
func FuzzMeminfo(f *testing.F) {
	for _, s := range []string{"MemTotal:       16384 kB\nMemAvailable:   8192 kB\n", "MemAvailable: -1 kB", "MemAvailable: -0 kB", "MemAvailable: +1 kB", "MemAvailable: 9223372036854775807 kB", "MemAvailable:7", "MemAvailable: x kB\nMemAvailable: 1 kB"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := kiB(b, "MemAvailable")
		want := int64(-1)
		for _, line := range strings.Split(string(b), "\n") {
			if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				if m := kilobytes.FindStringSubmatch(strings.TrimSpace(rest)); m != nil {
					if n, _ := new(big.Int).SetString(m[1], 10); n.BitLen() <= 53 {
						want = n.Int64() * 1024
					}
				}
				break
			}
		}
		if err == nil && got != want && len(b) < 1<<15 {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
		if got < 0 {
			t.Fatalf("%q: %d bytes", b, got)
		}
	})
}

// What a control group leaves lies between nothing and its limit, whatever its files say.
func FuzzCgroup(f *testing.F) {
	f.Add("0::/a/b\n", "1000", "500\n", "anon 400\ninactive_file 100\n")
	f.Add("4:memory:/../x\n0::/", "9223372036854771712", "-7", "total_inactive_file -1\n")
	f.Add("0::/", "max\n", "1", "inactive_file 9223372036854775807\ninactive_file 9223372036854775807\n")
	f.Add("0::"+strings.Repeat("/..", 50)+"/a:b", "1000", "1001", "")
	root := f.TempDir()
	dirs := []string{root, filepath.Join(root, "a"), filepath.Join(root, "memory")}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, membership, limit, used, stat string) {
		if len(membership) > 1<<12 {
			return
		}
		for _, d := range dirs {
			for name, s := range map[string]string{"memory.max": limit, "memory.current": used, "memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat} {
				if err := os.WriteFile(filepath.Join(d, name), []byte(s), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		most, free, ok := cgroup(membership, root)
		if !ok {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 64)
		if err != nil || most != n || free < 0 || free > most {
			t.Fatalf("a limit of %q: %d, of which %d are free", limit, most, free)
		}
		if !bytes.Contains([]byte(membership), []byte(":")) {
			t.Fatalf("%q names no group", membership)
		}
	})
}

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
