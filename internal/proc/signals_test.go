package proc

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// A command is ended after as many ticks as it has, counted from where nothing is held any more, or at once by a second
// SIGINT or SIGTERM; other signals only ask, and where the first one only asked, one more may come.
func TestWatch(t *testing.T) {
	const tick, hold, free = "tick", "hold", "free"
	for name, events := range map[string][]any{ // all but the last leave the process alive
		"free":           {tick, tick, tick},
		"held":           {hold, tick, tick, tick, tick, free, tick, tick, tick},
		"held late":      {tick, tick, hold, tick, free, tick, tick, tick},
		"SIGINT":         {hold, tick, os.Interrupt},
		"SIGTERM":        {hold, syscall.SIGTERM},
		"others ask":     {hold, syscall.SIGHUP, syscall.SIGXCPU, syscall.SIGUSR1, tick, tick, tick, syscall.SIGTERM},
		"asked first":    {hold, syscall.SIGTERM, tick, os.Interrupt},
		"others in time": {syscall.SIGHUP, tick, syscall.SIGHUP, tick, syscall.SIGHUP, tick},
	} {
		t.Run(name, func(t *testing.T) {
			h := &holds{}
			ctx := context.WithValue(t.Context(), holdsKey{}, h)
			signals, ticks, ended := make(chan os.Signal), make(chan time.Time), make(chan bool)
			go h.watch(signals, ticks, 3, name != "asked first", func() { close(ended) })
			done := func() {}
			for _, e := range events {
				select {
				case <-ended:
					t.Fatalf("ended before %v", e)
				default:
				}
				switch e {
				case hold:
					done = Hold(ctx)
				case free:
					done()
					done() // the second call does nothing
				case tick:
					ticks <- time.Time{}
					select { // when the next signal is taken the tick has been counted
					case signals <- syscall.SIGHUP:
					case <-ended:
					}
				default:
					signals <- e.(os.Signal)
				}
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("not ended")
			}
		})
	}
	Hold(context.Background())() // elsewhere it does nothing
}
