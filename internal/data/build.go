package data

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"longlora/internal/data/datafile"
	"longlora/internal/data/example"
	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/data/store"
	"longlora/internal/errs"
	"longlora/internal/par"
)

// place is how far reading is: so many records of a file, or so many bytes of a text file.
type place struct {
	File   int   `json:"file"`
	Record int   `json:"record"`
	Offset int64 `json:"offset"`
}

// item is a record as it lies in a file, not yet looked into.
type item struct {
	kind   datafile.Kind
	file   int
	line   int // where it begins: a line, or a parquet row
	number int // counted from 1 within its file
	lo, hi int // its bytes in the batch
	row    map[string]any
	bad    error
	text   bool // a text, or a part of one, not a record
	later  bool // a part that is not the first
	more   bool // nor the last
}

// batch is some records that one worker encodes.
type batch struct {
	buf   []byte
	items []item
	size  int   // bytes of the records
	after place // where reading goes on
	err   error // why reading ends
	done  chan result
}

// result is a batch's documents.
type result struct {
	ids     []int32
	docs    []store.Document
	skipped int
	size    int // bytes of the records
	after   place
	err     error
	fault   *par.Panic // of the program, not of the data
}

const (
	batchBytes = 1 << 20
	batchItems = 1 << 12
	inFlight   = 64 << 20 // bytes of records read and not yet written, at most
)

// inFlight is how many bytes of records may be held that are read and not yet written.
func (s *source) inFlight() int {
	if m := s.opt.HostMem; m > 0 {
		return int(max(batchBytes, min(inFlight, m/64)))
	}
	return inFlight
}

// encode reads the source's files from a place on and gives emit the documents, in the order of the files. Batches of
// records are encoded on all cores; what is held at a time are a few batches, so memory does not grow with the data.
func (s *source) encode(ctx context.Context, from place, emit func(*result) error) error {
	defer s.noteReplaced()
	defer s.noteEmpty()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := max(1, runtime.GOMAXPROCS(0))
	jobs, order := make(chan *batch, workers), make(chan *batch, 2*workers)
	held := newBudget(ctx, s.inFlight())
	var group par.Group
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		defer close(jobs)
		defer close(order)
		r := reading{s: s, b: &batch{}, send: func(b *batch) bool {
			b.done = make(chan result, 1)
			held.take(b.size)
			for _, c := range []chan *batch{order, jobs} {
				select {
				case c <- b:
				case <-ctx.Done():
					return false
				}
			}
			return true
		}}
		r.run(from)
	})
	for range workers {
		group.Go(func() {
			for b := range jobs {
				b.done <- s.try(b)
			}
		})
	}
	for b := range order { // in order, whichever is done first
		select {
		case r := <-b.done:
			if r.fault != nil {
				panic(r.fault)
			}
			if r.err != nil {
				return r.err
			}
			if err := emit(&r); err != nil {
				return err
			}
			held.give(b.size)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// budget bounds the bytes of the records that are held; one larger than all of it goes alone.
type budget struct {
	mu    sync.Mutex
	freed *sync.Cond
	ctx   context.Context
	held  int
	limit int
}

func newBudget(ctx context.Context, limit int) *budget {
	b := &budget{ctx: ctx, limit: limit}
	b.freed = sync.NewCond(&b.mu)
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.freed.Broadcast()
	})
	return b
}

func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held > 0 && b.held+n > b.limit && b.ctx.Err() == nil {
		b.freed.Wait()
	}
	b.held += n
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	b.freed.Broadcast()
}

// try is work; who waits for the batch is told of a panic.
func (s *source) try(b *batch) (r result) {
	defer func() {
		if p := par.Recovered(recover()); p != nil {
			r = result{fault: p}
		}
	}()
	return s.work(b)
}

// work encodes a batch. What it panics with goes to who waits for it.
func (s *source) work(b *batch) (r result) {
	r = result{after: b.after, size: b.size}
	defer func() {
		if p := par.Recovered(recover()); p != nil {
			r.err = p
		}
	}()
	for k := range b.items {
		it := &b.items[k]
		n := len(r.ids)
		ids, d, err := s.document(r.ids, b, it)
		if err != nil {
			if err == record.ErrLong && !s.opt.SkipBad {
				err = s.opt.tooLong(s.where(s.files[it.file], it.kind, it.line, it.number))
			}
			if err != record.ErrLong && it.kind == datafile.Delimited && hasNull(it.row) {
				err = fmt.Errorf("%w (an empty cell, NA, null and the like are null)", err)
			}
			if fatal(err) && (!s.opt.SkipBad || it.kind != datafile.Text) {
				r.err = err
				return r
			}
			if !s.opt.SkipBad {
				r.err = errs.Dataf("%s: %w; mend it, or pass %s", s.where(s.files[it.file], it.kind, it.line, it.number), err,
					errs.Option("skip-bad"))
				return r
			}
			r.skipped++
			r.ids = ids[:n]
			if it.later {
				r.docs = append(r.docs, store.Document{Undo: true})
			}
			continue
		}
		d.N, d.File, d.Line = len(ids)-n, it.file, it.line
		r.ids, r.docs = ids, append(r.docs, d)
		it.row = nil
	}
	r.err = b.err
	return r
}

// document encodes one record.
func (s *source) document(out []int32, b *batch, it *item) ([]int32, store.Document, error) {
	var d store.Document
	if it.bad != nil {
		return out, d, it.bad
	}
	if it.text {
		d.More = it.more
		out, err := s.encoder.part(out, string(b.buf[it.lo:it.hi]), !it.later, !it.more)
		return out, d, err
	}
	m, names := it.row, s.columns[it.file]
	if it.row == nil {
		var err error
		if m, names, err = jsonfile.Decode(b.buf[it.lo:it.hi], s.want); err != nil {
			return out, d, err
		}
		if s.format != Text && example.WrittenOut(m) {
			if m, err = jsonfile.DecodeInOrder(b.buf[it.lo:it.hi]); err != nil {
				return out, d, err
			}
		}
		if len(b.items) == 1 { // a long one: its bytes are wanted no more
			b.buf = nil
		}
	}
	if s.format == Text {
		v, err := example.DocumentText(m, names, s.opt.TextField)
		if err == nil {
			out, err = s.encoder.text(out, v)
		}
		return out, d, err
	}
	e, err := example.Read(s.format, m, names)
	if err != nil {
		return out, d, err
	}
	if it.row != nil && !s.nulls.Load() && example.WritesNull(it.row) {
		s.nulls.Store(true)
	}
	out, d, err = s.encoder.example(out, e)
	if all := s.opt.TrainOnPrompt; all != nil && *all && slices.ContainsFunc(e.Messages,
		func(m example.Message) bool { return m.Silent }) {
		e.Unread = append(e.Unread, "that messages are not to be scored ("+errs.Option("train-on-prompt").String()+
			" scores all)")
	}
	s.unread.add(e.Unread)
	return out, d, err
}
