package plan

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestHostMemory(t *testing.T) {
	free, err := HostAvailable()
	if err != nil || free < 1<<20 {
		t.Errorf("available: %d, %v", free, err)
	}
	debug.FreeOSMemory() // what other tests left behind would go away meanwhile
	before, err := RssAnon()
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	b := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	after, err := RssAnon()
	if err != nil || after-before < size*9/10 {
		t.Errorf("64 MiB touched, RssAnon went from %d to %d (%v)", before, after, err)
	}
	b[0] = 2
}

func TestCgroupFree(t *testing.T) {
	dir := t.TempDir()
	put := func(name, s string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := cgroupFree(dir); ok {
		t.Error("a folder without files gave a limit")
	}
	put("memory.max", "max\n")
	put("memory.current", "500\n")
	if _, ok := cgroupFree(dir); ok {
		t.Error("a group without limit gave one")
	}
	put("memory.max", "1000\n")
	put("memory.stat", "anon 400\ninactive_file 100\n")
	if n, ok := cgroupFree(dir); !ok || n != 600 {
		t.Errorf("free %d %v, want 600", n, ok)
	}
}
