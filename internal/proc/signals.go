// Package proc is what the program is to the system: signals that ask it to end, a standard output that may be full or
// closed, and mapped files that may break while they are read.
package proc

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long a command that was asked to end may take. Everything that it writes is whole or can be gone on
// from at any moment, so one that has nothing to lose is then ended wherever it is.
const grace = 1500 * time.Millisecond

// Context is cancelled by the first signal that asks for the program's end: SIGINT, SIGTERM, SIGHUP (unless nohup has
// it ignored), SIGXCPU and SIGUSR1, which batch systems send before a limit. end must end the process: it is called
// once the command has not ended by itself within the grace (see Hold), and at once at a second SIGINT or SIGTERM. The
// others only ever ask: a terminal that closes sends SIGHUP twice, a limit of processor time SIGXCPU every second, and
// another rank of a group that was asked to end passes that on (see Ask).
// SIGPIPE does nothing from then on: a write says that nobody reads.
func Context(parent context.Context, end func()) context.Context {
	asking := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGXCPU, syscall.SIGUSR1}
	if !signal.Ignored(syscall.SIGHUP) {
		asking = append(asking, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, asking...)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	h := &holds{}
	ctx, cancel := context.WithCancel(context.WithValue(parent, holdsKey{}, h))
	go func() {
		first := <-signals
		cancel()
		h.watch(signals, time.Tick(grace/15), 15, demands(first), end)
	}()
	return ctx
}

// Ask has this process ended as SIGUSR1 does.
func Ask() { _ = syscall.Kill(os.Getpid(), syscall.SIGUSR1) }

// demands reports whether a second signal of the kind ends the process at once.
func demands(s os.Signal) bool { return s == os.Interrupt || s == syscall.SIGTERM }

// holds counts what keeps the process from being ended.
type holds struct{ n atomic.Int32 }

type holdsKey struct{}

// Hold says that the caller has work that ending the process would lose; done that it has not any more. Who holds must
// see to it that ctx's end is obeyed.
func Hold(ctx context.Context) (done func()) {
	h, ok := ctx.Value(holdsKey{}).(*holds)
	if !ok {
		return func() {}
	}
	h.n.Add(1)
	return sync.OnceFunc(func() { h.n.Add(-1) })
}

// watch calls end after so many ticks in a row in which nothing was held, or at the second signal that demands it;
// demanded says that the first has come.
func (h *holds) watch(signals <-chan os.Signal, tick <-chan time.Time, ticks int, demanded bool, end func()) {
	for free := 0; free < ticks; {
		select {
		case s := <-signals:
			if demands(s) && demanded {
				end()
				return
			}
			demanded = demanded || demands(s)
		case <-tick:
			if free++; h.n.Load() > 0 {
				free = 0
			}
		}
	}
	end()
}
