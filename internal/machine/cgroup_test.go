package machine

import (
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/testkit"
)

// A limit binds wherever it stands between the process's group and the root, in either version.
func TestCgroup(t *testing.T) {
	for _, c := range []struct {
		name, membership string
		files            map[string]string
		limit, free      int64 // 0: none
	}{
		{"nothing", "0::/\n", nil, 0, 0},
		{"no limit", "0::/\n", map[string]string{"memory.max": "max\n", "memory.current": "500\n"}, 0, 0},
		{"a container's root", "0::/\n", map[string]string{"memory.max": "1000\n", "memory.current": "500\n", "memory.stat": "anon 400\ninactive_file 100\n"}, 1000, 600},
		{"a path of the host", "0::/../../docker/x\n", map[string]string{"memory.max": "1000\n", "memory.current": "500\n"}, 1000, 500},
		{"a parent's", "0::/user.slice/job\n", map[string]string{"user.slice/memory.max": "1000\n", "user.slice/memory.current": "900\n",
			"user.slice/job/memory.max": "2000\n", "user.slice/job/memory.current": "100\n"}, 1000, 100},
		{"version 1", "7:cpu:/a\n4:memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "1000\n", "memory/a/memory.usage_in_bytes": "700\n",
			"memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n"}, 1000, 500},
		{"version 1 without limit", "4:memory:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/memory.usage_in_bytes": "7\n"}, 0, 0},
		{"use above the limit", "0::/\n", map[string]string{"memory.max": "10\n", "memory.current": "500\n"}, 10, 0},
		{"no file of groups", "nonsense\n", map[string]string{"memory.max": "10\n", "memory.current": "5\n"}, 0, 0},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			p := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			testkit.Write(t, p, text)
		}
		limit, free, ok := cgroup(c.membership, dir)
		if ok != (c.limit > 0) || ok && (limit != c.limit || free != c.free) {
			t.Errorf("%s: limit %d, free %d, %v; want %d, %d", c.name, limit, free, ok, c.limit, c.free)
		}
	}
}
