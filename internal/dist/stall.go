package dist

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"longlora/internal/ui"
)

// Watch notices that a process's work stands still: in a device that does not answer, a disk, or a network. It counts
// the seconds in which the process ran and its work came no further. They are counted, not measured: a process that was
// stopped, or slept with its machine, goes on. A nil Watch watches nothing.
type Watch struct {
	fixed   int          // seconds that work may stand still; -1: as long as the stretches tell, 0: for ever
	busy    func() bool  // whether another rank works, for which this one may wait; nil where there is none
	stalled func(*Stall) // called once, from another goroutine than the work's

	mu      sync.Mutex
	kind    string         // of the stretch under way
	what    string         // that is, for people
	waits   bool           // for other ranks, which all have come as far or will
	since   time.Time      // for people
	expect  float64        // seconds that it is predicted to take
	quiet   int            // seconds counted in it
	longest map[string]int // by kind, of those that are over
	mend    string
	on      bool
}

// How long work may stand still where nobody says it: many times as long as it is known or predicted to take, and never
// less than a slow disk or a busy machine may cost.
const (
	leastStall = 10 * 60 // seconds
	manyTimes  = 20
)

// moreToWait is how much longer a rank that waits is patient than one that works, which knows what it stands in.
const moreToWait = 20 // seconds

// NewWatch makes one that goes by the environment. stalled is told that work stands still.
func NewWatch(stalled func(*Stall)) (*Watch, error) {
	n, given, err := environment(os.Getenv).seconds(StallVariable, 0)
	if err != nil {
		return nil, err
	}
	if !given {
		n = -1
	}
	return &Watch{fixed: n, stalled: stalled, longest: map[string]int{}}, nil
}

// At says that the work has come to a stretch of a kind, which is predicted to take so many seconds.
func (w *Watch) At(kind, what string, expect float64) {
	if w == nil {
		return
	}
	w.Mark()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kind, w.what, w.expect = kind, what, expect
}

// Mark says that in the stretch under way the work has come further.
func (w *Watch) Mark() { w.mark(false) }

// Waits says that from here on this rank waits for the others.
func (w *Watch) Waits() { w.mark(true) }

func (w *Watch) mark(waits bool) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.waits {
		w.longest[w.kind] = max(w.longest[w.kind], w.quiet)
	}
	w.waits, w.quiet, w.since = waits, 0, time.Now()
}

// Mend says what can be done about work that stands still from now on.
func (w *Watch) Mend(text string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mend = text
}

// Run watches until what it returns is called.
func (w *Watch) Run() (stop func()) {
	if w == nil || w.fixed == 0 {
		return func() {}
	}
	w.mu.Lock()
	w.on = true
	w.mu.Unlock()
	end, tick := make(chan struct{}), time.NewTicker(time.Second)
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C: // of those that a stopped process missed there is one
			}
			if s := w.tick(); s != nil {
				w.stalled(s)
				return
			}
		}
	}()
	return func() {
		close(end)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.on = false
	}
}

// tick is a second of this process's. It returns nil but where the work stands still.
func (w *Watch) tick() *Stall {
	others := w.busy != nil && w.busy()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet++; w.waits && others {
		w.quiet = 0 // it is for those to say that they stand still
	}
	if w.quiet < w.limit() {
		return nil
	}
	in := ""
	if w.waits {
		in = ", where the ranks wait for each other"
	}
	text := fmt.Sprintf("%s stands still%s: no progress for %s that this process ran, since %s. A device, a disk or the "+
		"network does not answer; what the system says (dmesg, nvidia-smi) may tell which. %s sets how many seconds this "+
		"may take, 0 is for ever", w.what, in, ui.Duration(float64(w.quiet)), w.since.Format(time.DateTime), StallVariable)
	return &Stall{Text: text, Mend: w.mend, Waits: w.waits}
}

// Stall is work that stands still.
type Stall struct {
	Text  string
	Mend  string // what can be done about it
	Waits bool   // for other ranks; else it may be that nothing ends it
}

func (s *Stall) Error() string { return s.Text + ". " + s.Mend }

// limit is how long the stretch under way may take, in seconds; the lock is held.
func (w *Watch) limit() int {
	n := w.fixed
	if n < 0 {
		n = max(leastStall, manyTimes*w.longest[w.kind], int(manyTimes*w.expect))
	}
	if w.waits {
		n += moreToWait
	}
	return n
}

// working reports whether this rank works, and is not known to stand still.
func (w *Watch) working() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.on && w.kind != "" && !w.waits && w.quiet < w.limit()
}

// Watch is one that knows of the other ranks. Where this rank's work stands still the group ends.
func (j *Job) Watch() (*Watch, error) {
	w, err := NewWatch(j.stalled)
	if err != nil {
		return nil, err
	}
	w.busy = func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return slices.Contains(j.working, true)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.watched = w
	return w, nil
}

// stalled ends the group, and then this process, whose work may never end by itself.
func (j *Job) stalled(s *Stall) {
	e := j.failure(s)
	e.Text, e.Mend = j.name(j.Rank())+": "+s.Text, s.Mend
	if j.Rank() == 0 { // which tells the others, and says it before they have ended
		left := limit
		if !s.Waits {
			left = limit / 4
		}
		j.end(e, -1, left)
		return
	}
	j.all(-1, frameAbort, e)
	j.await(limit)
	j.mu.Lock()
	ends := j.cause != nil // and this process with it
	j.mu.Unlock()
	select {
	case <-j.ended: // after all
	default:
		if !ends {
			j.die(e.err())
		}
	}
}
