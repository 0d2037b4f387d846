package dist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"longlora/internal/errs"
)

// Job is a rank's side of a group of processes: its Group, and what the ranks tell each other beside their work.
type Job struct {
	*Group
	Place  Place
	Hellos []Hello // of all ranks

	lines []*line // rank 0: to every other rank; others: to rank 0
	asked func()
	die   func(error)
	ctx   context.Context
	fail  context.CancelCauseFunc
	ended chan struct{} // closed when the job is over on this rank

	mu       sync.Mutex
	cause    *Ended
	stopping bool
	byes     []bool        // by rank: has said that it is done
	working  []bool        // by rank: works, as it said last, rank 0 for all others too
	watched  *Watch        // of this rank's work; nil where nobody asked for one
	news     chan struct{} // replaced and closed whenever something of the above changes
}

// Ended is why a group ended: a rank failed, or is gone.
type Ended struct {
	Rank int    `json:"rank"`
	Code int    `json:"code"` // its exit code
	Text string `json:"text"`
	Mend string `json:"mend"` // what can be done about it; "" where nothing is known
	Why  string `json:"why"`  // Text without the rank's name; "" where the rank did not say it itself
	Told bool   `json:"-"`    // another rank says it to people
}

func (e *Ended) Error() string {
	if e.Mend == "" {
		return e.Text
	}
	return e.Text + ". " + e.Mend
}

// Times of the heartbeat. A rank that is silent for silence of this process's own seconds is gone; all end within
// limit of it.
const (
	beat    = time.Second
	silence = 7
	limit   = 12 * time.Second
)

// run starts what listens to the other ranks.
func (j *Job) run() {
	j.byes, j.working = make([]bool, j.Size()), make([]bool, j.Size())
	j.news, j.ended = make(chan struct{}), make(chan struct{})
	j.ctx, j.fail = context.WithCancelCause(context.Background())
	j.explain = j.why
	heard := make([]chan struct{}, len(j.lines))
	for r, l := range j.lines {
		if l != nil {
			heard[r] = make(chan struct{}, 1)
			go j.listen(r, l, heard[r])
		}
	}
	go j.watch(heard)
}

// Context is one that ends when parent does, and then the other ranks stop too, or when another rank has failed.
func (j *Job) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	context.AfterFunc(parent, j.stop)
	context.AfterFunc(j.ctx, func() { cancel(context.Cause(j.ctx)) })
	return ctx
}

// stop tells the other ranks that this one was asked to stop.
func (j *Job) stop() {
	j.mu.Lock()
	first := !j.stopping && j.cause == nil
	j.stopping = true
	j.changed()
	j.mu.Unlock()
	if first {
		j.all(-1, frameStop, nil)
	}
}

// changed wakes who waits for news; the lock is held.
func (j *Job) changed() {
	close(j.news)
	j.news = make(chan struct{})
}

// all sends a frame to whoever this rank has a line to, but for one. What does not arrive is found out by the
// heartbeat.
func (j *Job) all(but int, kind byte, v any) {
	var wg sync.WaitGroup
	for r, l := range j.lines {
		if l != nil && r != but {
			wg.Go(func() { _ = l.send(kind, v) })
		}
	}
	wg.Wait()
}

// listen reads what a rank says.
func (j *Job) listen(rank int, l *line, heard chan<- struct{}) {
	for {
		kind, body, err := readFrame(l, maxFrame)
		if err != nil {
			j.lost(rank, "ended without a word", limit)
			return
		}
		select {
		case heard <- struct{}{}:
		default:
		}
		switch kind {
		case frameBeat:
			works := false
			if json.Unmarshal(body, &works) == nil {
				j.mu.Lock()
				if j.working[rank] != works {
					j.working[rank] = works
					j.changed()
				}
				j.mu.Unlock()
			}
		case frameStop:
			j.mu.Lock()
			first := !j.stopping
			j.stopping = true
			j.changed()
			j.mu.Unlock()
			if first && j.Rank() == 0 {
				j.all(rank, frameStop, nil)
			}
			if first {
				j.asked()
			}
		case frameAbort:
			var e Ended
			if json.Unmarshal(body, &e) == nil {
				e.Told = j.Rank() > 0 && (e.Rank != j.Rank() || j.Place.Launched)
				j.end(&e, rank, limit)
			}
		case frameBye:
			j.mu.Lock()
			j.byes[rank], j.working[rank] = true, false
			j.changed()
			j.mu.Unlock()
		}
	}
}

// watch sends the heartbeat and counts the seconds in which a rank said nothing. They are counted, not measured: a
// machine that was suspended, or a group that was stopped as a whole, goes on.
func (j *Job) watch(heard []chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	silent := make([]int, len(heard))
	for {
		select {
		case <-j.ended:
			return
		case <-tick.C:
		}
		go j.all(-1, frameBeat, j.works())
		for r, ch := range heard {
			if ch == nil {
				continue
			}
			select {
			case <-ch:
				silent[r] = 0
			default:
				if silent[r]++; silent[r] == silence {
					j.lost(r, fmt.Sprintf("has not answered for %d seconds", silence), limit-silence*beat)
				}
			}
		}
	}
}

// works reports whether this rank works and, of rank 0, whether any does.
func (j *Job) works() bool {
	j.mu.Lock()
	w, others := j.watched, j.Rank() == 0 && slices.Contains(j.working, true)
	j.mu.Unlock()
	return others || w != nil && w.working()
}

// name is what messages call a rank. Introduce adds to what is known of it while the lines are listened to.
func (j *Job) name(rank int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Hellos[rank].name()
}

// lost is that a rank is gone, unless it had said that it would be.
func (j *Job) lost(rank int, how string, left time.Duration) {
	j.mu.Lock()
	expected, stopping := j.byes[rank], j.stopping
	j.mu.Unlock()
	select {
	case <-j.ended:
		return
	default:
	}
	if expected {
		return
	}
	e := &Ended{Rank: rank, Code: int(errs.Internal), Text: j.name(rank) + " " + how}
	if stopping {
		e.Code = int(errs.Interrupted)
	}
	j.end(e, rank, left)
}

// end takes note of why the group ends, tells the others where this is rank 0, and sees to it that this process ends.
func (j *Job) end(e *Ended, from int, left time.Duration) {
	j.mu.Lock()
	if j.cause != nil {
		j.mu.Unlock()
		return
	}
	j.cause = e
	j.byes[e.Rank] = true // nothing more is to be awaited of it
	j.changed()
	j.mu.Unlock()
	if j.Rank() == 0 {
		go j.all(from, frameAbort, e)
	}
	err := e.err()
	j.fail(err)
	defer func() { _ = j.Break(err) }() // which may wait for a device
	time.AfterFunc(left, func() {
		select {
		case <-j.ended:
		default:
			j.die(err)
		}
	})
}

// err is the error that it is for who works.
func (e *Ended) err() error { return errs.Kindf(errs.Kind(e.Code), "%w", e) }

// why says why the connection for data to a rank broke: what became known of it within a moment, or that it is gone.
func (j *Job) why(rank int, err error) error {
	deadline := time.After(2 * time.Second)
	for {
		j.mu.Lock()
		cause, news := j.cause, j.news
		j.mu.Unlock()
		if cause != nil {
			return cause.err()
		}
		select {
		case <-news:
			continue
		case <-deadline:
		}
		return fmt.Errorf("%s: its connection broke: %w", j.name(rank), err)
	}
}

// End ends the job with what this rank's work ended with, and returns what the process is to end with: where another
// rank's failure is why, that. A rank that failed tells the others, and rank 0 says so to people. All wait for rank 0,
// which may be saving.
func (j *Job) End(err error) error {
	j.mu.Lock()
	cause := j.cause
	j.mu.Unlock()
	var known, own *Ended
	asked := errs.Code(err) == int(errs.Interrupted) || errors.Is(err, context.Canceled)
	switch failed := err != nil && !asked && !errors.As(err, &known); {
	case failed && (cause == nil || cause.Why == errs.Plain(err)): // which others may come to as well
		own = j.failure(err)
		cause = own
	case cause != nil:
		if !errors.As(err, &known) {
			err = cause.err()
		}
	case asked:
		j.stop()
		if j.Rank() > 0 { // rank 0 stops too, and says which step is saved
			err = (&Ended{Rank: j.Rank(), Code: int(errs.Interrupted), Text: "interrupted", Told: true}).err()
		}
	}
	wait := time.Duration(1<<62 - 1)
	if cause != nil {
		wait = limit / 2
		var all common
		if j.Rank() == 0 || own != nil && !errors.As(err, &all) { // rank 0 says it to people; those that failed hear of it
			j.all(-1, frameAbort, cause)
		}
	}
	if j.Rank() == 0 {
		wait = min(wait, 5*time.Second) // whose work is done
	}
	j.all(-1, frameBye, nil)
	j.await(wait)
	close(j.ended)
	j.hangUp()
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.Rank() == 0 || j.cause == nil:
	case err == nil: // rank 0 did not come to its end
		err = j.cause.err()
	case own != nil && j.saidOf(own):
		own.Told = true
		err = own.err()
	}
	return err
}

// common is an error that all ranks come to.
type common struct{ error }

func (c common) Unwrap() error { return c.error }

// Common marks an error, or none, that every rank comes to with what all have heard of each other. Nobody but rank 0
// tells of it: who is told before it has heard all would not come to it.
func Common(err error) error {
	if err == nil {
		return nil
	}
	return common{err}
}

// failure is what the others are told of an error of this rank's.
func (j *Job) failure(err error) *Ended {
	why := errs.Plain(err)
	return &Ended{Rank: j.Rank(), Code: errs.Code(err), Text: j.name(j.Rank()) + ": " + why, Why: why}
}

// saidOf reports whether rank 0 says to people what ended this rank: because another one came to the same, or because
// all write to one terminal. The lock is held.
func (j *Job) saidOf(own *Ended) bool {
	return j.cause.Why == own.Why && j.cause.Rank != own.Rank || j.cause.Rank == own.Rank && j.Place.Launched
}

// await waits until everybody has said goodbye, or the group has ended in another way.
func (j *Job) await(wait time.Duration) {
	deadline := time.After(wait)
	for {
		j.mu.Lock()
		all, news, cause := true, j.news, j.cause
		for r, l := range j.lines {
			all = all && (l == nil || j.byes[r])
		}
		j.mu.Unlock()
		if all || cause != nil && wait > limit {
			return
		}
		select {
		case <-news:
		case <-deadline:
			return
		}
	}
}

// hangUp closes all connections.
func (j *Job) hangUp() {
	for _, l := range j.lines {
		if l != nil {
			_ = l.Close()
		}
	}
	j.Group.Close()
}

// readPeers reads what rank 0 says of all ranks.
func readPeers(body []byte, size int, to *[]Hello) error {
	if json.Unmarshal(body, to) != nil || len(*to) != size {
		return fmt.Errorf("rank 0 sent a list of ranks that is none")
	}
	return nil
}
