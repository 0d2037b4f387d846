package par

import (
	"strings"
	"sync/atomic"
	"testing"
)

// A panic of a worker comes out of Wait once all others are done, with the stack of where it happened.
func TestPanicComesOutOfWait(t *testing.T) {
	for name, start := range map[string]func(g *Group, f func()){"Go": (*Group).Go, "Do": (*Group).Do} {
		t.Run(name, func(t *testing.T) {
			var g Group
			var done atomic.Int32
			release := make(chan bool)
			for range 3 {
				g.Go(func() { <-release; done.Add(1) })
			}
			start(&g, faulty)
			close(release)
			p := Recovered(catch(g.Wait))
			if p == nil || p.Error() != "a fault" || !strings.Contains(string(p.Stack), "faulty") {
				t.Errorf("%+v", p)
			}
			if done.Load() != 3 {
				t.Errorf("Wait returned with %d of 3 others done", done.Load())
			}
		})
	}
	if r := catch(new(Group).Wait); r != nil {
		t.Errorf("nothing panicked, Wait did: %v", r)
	}
}

func faulty() { panic("a fault") }

func catch(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}
