// Package par runs functions side by side. What one of them panics with comes out where they are waited for, so that a
// fault of the program ends a command in the same way wherever it happens.
package par

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Panic is what a function panicked with, and the stack that it did so on.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprint(p.Value) }

// Recovered makes a Panic of what recover returned, nil of nil. One that comes from another goroutine keeps its stack.
func Recovered(r any) *Panic {
	if r == nil {
		return nil
	}
	if p, ok := r.(*Panic); ok {
		return p
	}
	return &Panic{r, debug.Stack()}
}

// Group is a sync.WaitGroup whose Wait panics with the first *Panic of its functions. The zero Group is ready.
type Group struct {
	wg    sync.WaitGroup
	first atomic.Pointer[Panic]
}

// Go calls f on a goroutine of its own.
func (g *Group) Go(f func()) { g.wg.Go(func() { g.Do(f) }) }

// Do calls f here. Should it panic, Wait says so: the others may still be at work on what the caller would take away.
// A read of memory that cannot be read, of a mapped file that was cut off, is a panic too.
func (g *Group) Do(f func()) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := Recovered(recover()); p != nil {
			g.first.CompareAndSwap(nil, p)
		}
	}()
	f()
}

// Wait waits for all functions.
func (g *Group) Wait() {
	g.wg.Wait()
	if p := g.first.Load(); p != nil {
		panic(p)
	}
}
