package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupMemory is the smallest memory limit of the control groups that this process is in, and the least that one of
// them leaves free, in bytes; ok is false without a limit.
func cgroupMemory() (limit, free int64, ok bool) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, 0, false
	}
	return cgroup(string(b), "/sys/fs/cgroup")
}

// unlimited is more than any machine has: version 1 writes a number near 2^63 where there is no limit.
const unlimited = 1 << 60

// cgroup goes from the groups of membership, which is /proc/self/cgroup's text, up to the root: a limit anywhere on the
// way binds. In a container the path may be that of the host; the root is then the container's own group.
func cgroup(membership, root string) (limit, free int64, ok bool) {
	limit, free = unlimited, unlimited
	for _, line := range strings.Split(membership, "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		base, names := "", [3]string{"memory.max", "memory.current", "inactive_file "}
		switch {
		case f[1] == "memory" || strings.Contains(","+f[1]+",", ",memory,"):
			base, names = filepath.Join(root, "memory"), [3]string{"memory.limit_in_bytes", "memory.usage_in_bytes",
				"total_inactive_file "}
		case f[0] == "0" && f[1] == "":
			base = root
		default:
			continue
		}
		for path := filepath.Clean("/" + f[2]); ; path = filepath.Dir(path) {
			if l, left, has := groupFree(filepath.Join(base, path), names); has {
				limit, free, ok = min(limit, l), min(free, left), true
			}
			if path == "/" {
				break
			}
		}
	}
	return limit, free, ok
}

// groupFree is one group's limit and what it leaves, counting file pages that can be dropped as free. names are the
// files of limit and use, and the statistic of such pages.
func groupFree(dir string, names [3]string) (limit, free int64, ok bool) {
	number := func(name string) (int64, bool) { // not negative
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return 0, false
		}
		v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return v, err == nil && v >= 0
	}
	limit, ok1 := number(names[0]) // version 2 says "max" where there is no limit
	used, ok2 := number(names[1])
	if !ok1 || !ok2 || limit >= unlimited {
		return 0, 0, false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return limit, max(limit-used, 0), true
	}
	for _, line := range strings.Split(string(stat), "\n") {
		if v, found := strings.CutPrefix(line, names[2]); found {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
				used -= min(n, used)
			}
		}
	}
	return limit, max(limit-used, 0), true
}
