package machine

import (
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
