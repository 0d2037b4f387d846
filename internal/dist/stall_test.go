package dist

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"longlora/internal/errs"
)

// ticks lets so many seconds of the process pass, and returns after how many of them the work was known to stand still;
// 0 for never.
func ticks(w *Watch, n int) int {
	for i := range n {
		if w.tick() != nil {
			return i + 1
		}
	}
	return 0
}

// Work may stand still for ten minutes, or twenty times what its kind took or is predicted to take.
func TestStall(t *testing.T) {
	watch := func(variable string) *Watch {
		t.Setenv(StallVariable, variable)
		w, err := NewWatch(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := watch("")
	w.Mend("Try again")
	w.At("step", "step 1", 0)
	if n := ticks(w, 1000); n != 600 {
		t.Errorf("a step stands still after %d s", n)
	}
	s := w.tick()
	for _, want := range []string{"step 1 stands still: no progress for 10m01s ", ", since 2", StallVariable, ". Try again"} {
		if s == nil || !strings.Contains(s.Error(), want) {
			t.Errorf("%v: without %q", s, want)
		}
	}
	w.Mark()
	if n := ticks(w, 12000); n != 0 {
		t.Errorf("a step where one took 601 s stands still after %d s", n)
	}
	w.At("step", "step 2", 0) // after one of 12000 s
	if n := ticks(w, 12000); n != 0 {
		t.Errorf("the next one after %d s", n)
	}
	w.At("saving", "saving step 2", 0) // of another kind
	if n := ticks(w, 1000); n != 600 {
		t.Errorf("saving stands still after %d s", n)
	}
	w.At("loading", "loading the model", 100)
	if n := ticks(w, 3000); n != 2000 {
		t.Errorf("what is predicted to take 100 s stands still after %d s", n)
	}
	w.At("validation", "the validation after step 2", 0)
	for range 100 { // each row of which is progress
		if n := ticks(w, 599); n != 0 {
			t.Fatalf("rows of 599 s stand still after %d s", n)
		}
		w.Mark()
	}
	w = watch("5")
	w.At("step", "step 1", 1000)
	if n := ticks(w, 10); n != 5 {
		t.Errorf("%s=5: after %d s", StallVariable, n)
	}
	watch("0").Run()() // watches nothing
	var none *Watch
	none.At("step", "step 1", 0)
	none.Mark()
	none.Waits()
	none.Mend("")
	none.Run()()
}

// A rank that waits stands still only where none works that it may wait for, and later than who works.
func TestStallOfWaiting(t *testing.T) {
	t.Setenv(StallVariable, "")
	w, err := NewWatch(nil)
	if err != nil {
		t.Fatal(err)
	}
	others := true
	w.busy, w.on = func() bool { return others }, true
	w.At("step", "step 1", 0)
	if !w.working() {
		t.Error("it does not work")
	}
	w.Waits()
	if w.working() || ticks(w, 5000) != 0 {
		t.Error("a rank that waits for one that works stands still")
	}
	others = false
	if n := ticks(w, 5000); n != 600+moreToWait {
		t.Errorf("a rank that waits for nobody stands still after %d s", n)
	}
	if s := w.tick(); s == nil || !s.Waits || !strings.Contains(s.Text, "the ranks wait for each other") {
		t.Errorf("%v", s)
	}
	w.At("step", "step 2", 0)
	if others = true; ticks(w, 5000) != 600 || w.working() {
		t.Error("a rank that stands still is said to work")
	}
}

// The heartbeat says which ranks work, to each through rank 0.
func TestWorkIsTold(t *testing.T) {
	jobs := joined(t, 3)
	watches := make([]*Watch, 3)
	for r, j := range jobs {
		w, err := j.Watch()
		if err != nil {
			t.Fatal(err)
		}
		watches[r] = w
	}
	if watches[2].busy() {
		t.Error("nobody works yet")
	}
	defer watches[1].Run()()
	watches[1].At("step", "step 1", 0)
	for _, r := range []int{0, 2} {
		for j := jobs[r]; ; { // until the next beat, or the test's own limit
			j.mu.Lock()
			news := j.news
			j.mu.Unlock()
			if watches[r].busy() {
				break
			}
			<-news
		}
	}
}

// A rank that stands still ends the group by name, with what can be done.
func TestStalledRank(t *testing.T) {
	for _, which := range []int{0, 1} {
		jobs := joined(t, 3)
		out := make([]error, 3)
		var wg sync.WaitGroup
		for r, j := range jobs {
			if r == which { // its work never ends
				go j.stalled(&Stall{Text: "step 7 stands still", Mend: "Go on", Waits: true})
				continue
			}
			wg.Go(func() {
				<-j.Context(t.Context()).Done()
				out[r] = j.Barrier()
			})
		}
		wg.Wait()
		for r, err := range out {
			var e *Ended
			if r != which && (errs.Code(err) != 1 || !errors.As(err, &e) || e.Rank != which || e.Told != (r > 0) ||
				!strings.HasSuffix(e.Error(), ": step 7 stands still. Go on") || e.Mend != "Go on") {
				t.Errorf("rank %d ends with %v", r, err)
			}
		}
		quit(jobs[which])
	}
}
