package proc

import (
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/par"
)

// A mapping is what a process has of a file without a copy. Should the file be cut off, or its disk fail, what is read
// there from then on is zeros, in Go and in C, and the file is known as broken: Broken says so to the end of the
// process, and whoever makes a result of what is read asks before anything comes of it.

var mapped struct {
	sync.Mutex
	once  sync.Once
	fault error // of taking SIGBUS over
	open  []mapping
	first atomic.Pointer[errs.Error] // of the first that broke
}

// mapping is an open one; its number is its place in the list. One without bytes is free.
type mapping struct {
	b    []byte
	path string
	file os.FileInfo
}

// cut reports whether the file is shorter than it was. Within its last page that raises no signal.
func (m mapping) cut() bool {
	if m.b == nil {
		return false
	}
	st, err := os.Stat(m.path)
	return err == nil && os.SameFile(st, m.file) && st.Size() < int64(len(m.b))
}

// Map maps a regular file from its beginning to its present end for reading; an empty one is nil. Unmap ends it.
func Map(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, files.Fault(f.Name(), err)
	}
	if st.Size() == 0 {
		return nil, nil
	}
	mapped.once.Do(func() { mapped.fault = busInstall() })
	if mapped.fault != nil {
		return nil, mapped.fault
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errs.Dataf("%s: mapping the file: %w", f.Name(), err)
	}
	mapped.Lock()
	defer mapped.Unlock()
	n := slices.IndexFunc(mapped.open, func(m mapping) bool { return m.b == nil })
	if n < 0 {
		if n = len(mapped.open); n == maxMaps {
			return nil, errors.Join(errs.Dataf("%s: more than %d files are mapped at a time", f.Name(), maxMaps), unix.Munmap(b))
		}
		mapped.open = append(mapped.open, mapping{})
	}
	mapped.open[n] = mapping{b, f.Name(), st}
	busWatch(n, b)
	return b, nil
}

// Unmap gives back what Map gave.
func Unmap(b []byte) error {
	if b == nil {
		return nil
	}
	_ = Broken() // who broke is known only as long as it is mapped
	mapped.Lock()
	defer mapped.Unlock()
	n := slices.IndexFunc(mapped.open, func(m mapping) bool { return unsafe.SliceData(m.b) == unsafe.SliceData(b) })
	if n < 0 {
		return errors.New("not a mapped file")
	}
	busWatch(n, nil)
	mapped.open[n] = mapping{}
	return unix.Munmap(b)
}

// Broken is the error, of kind Data, for the first mapped file that could not be read, nil where all could. What was
// computed since may come of zeros.
func Broken() error {
	if first := mapped.first.Load(); first != nil {
		return first
	}
	if n := busBroken(); n != 0 {
		return broken(int(n - 1))
	}
	return nil
}

// broken makes the error for the file of a mapping, once.
func broken(n int) error {
	mapped.Lock()
	defer mapped.Unlock()
	if mapped.first.Load() == nil {
		m := mapped.open[n]
		text := "a part of it cannot be read any more: its disk, or the network to it, fails; see what the system says of it"
		if m.cut() {
			text = "it was cut off while it was in use; put it back as it was"
		}
		mapped.first.Store(errs.Dataf("%s: %s", m.path, text).(*errs.Error))
	}
	return mapped.first.Load()
}

// Intact calls f. Where a mapped file broke meanwhile or before, it returns Broken's error, whatever f made of zeros: a
// result, another error, or a panic.
func Intact(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := par.Recovered(recover())
		if b := brokenBy(p); b != nil {
			err = b
		} else if p != nil {
			panic(p)
		}
	}()
	return f()
}

// brokenBy is Broken's error, where a panic is of reading a mapped file too.
func brokenBy(p *par.Panic) error {
	if p == nil {
		mapped.Lock()
		n := slices.IndexFunc(mapped.open, mapping.cut)
		mapped.Unlock()
		if n >= 0 {
			return broken(n)
		}
		return Broken()
	}
	if fault, ok := p.Value.(interface{ Addr() uintptr }); ok {
		mapped.Lock()
		n := slices.IndexFunc(mapped.open, func(m mapping) bool {
			return m.b != nil && fault.Addr()-uintptr(unsafe.Pointer(unsafe.SliceData(m.b))) < uintptr(len(m.b))
		})
		mapped.Unlock()
		if n >= 0 {
			return broken(n)
		}
	}
	return Broken()
}

// IsBroken reports whether an error is Broken's.
func IsBroken(err error) bool {
	first := mapped.first.Load()
	return first != nil && errors.Is(err, first)
}
