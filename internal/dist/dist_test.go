package dist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"longlora/internal/errs"
)

// together runs f on every rank at once and returns what each failed with.
func together(gs []*Group, f func(g *Group) error) []error {
	out := make([]error, len(gs))
	var wg sync.WaitGroup
	for r, g := range gs {
		wg.Go(func() { out[r] = f(g) })
	}
	wg.Wait()
	return out
}

func must(t *testing.T, all []error) {
	t.Helper()
	for r, err := range all {
		if err != nil {
			t.Fatalf("rank %d: %v", r, err)
		}
	}
}

// makers are the ways to make a group in one test.
var makers = map[string]func(t *testing.T, size int) []*Group{
	"in one process": func(_ *testing.T, size int) []*Group { return InProcess(size) },
	"TCP": func(t *testing.T, size int) []*Group {
		var gs []*Group
		for _, j := range joined(t, size) {
			gs = append(gs, j.Group)
		}
		return gs
	},
}

// Sums are those of additions in the order of the ranks, bit by bit, whatever joins the ranks and however long the
// vector is; all ranks have the same.
func TestSum(t *testing.T) {
	for name, groups := range makers {
		for _, size := range []int{2, 3, 4} {
			gs := groups(t, size)
			for _, n := range []int{0, 1, size - 1, 1000, size*pieceBytes/4 + 7} {
				r := rand.New(rand.NewPCG(uint64(n), uint64(size)))
				xs, want := make([][]float32, size), make([]float32, n)
				for i := range xs {
					xs[i] = make([]float32, n)
					for k := range xs[i] {
						xs[i][k] = float32(math.Ldexp(r.Float64()-0.5, r.IntN(30)))
					}
				}
				for k := range want {
					want[k] = xs[0][k]
					for i := 1; i < size; i++ {
						want[k] += xs[i][k]
					}
				}
				must(t, together(gs, func(g *Group) error { return g.Sum(xs[g.Rank()]) }))
				for i, x := range xs {
					if !slices.Equal(x, want) {
						t.Fatalf("%s, %d ranks, %d numbers: rank %d has another sum", name, size, n, i)
					}
				}
			}
			must(t, together(gs, (*Group).Barrier))
		}
	}
}

// What a rank exchanges for a sum is what a ring carries, and is counted apart from words.
func TestTraffic(t *testing.T) {
	const size, n = 4, 1000
	gs := InProcess(size)
	must(t, together(gs, func(g *Group) error {
		if err := g.Barrier(); err != nil {
			return err
		}
		before := g.Traffic()
		if err := g.Sum(make([]float32, n)); err != nil {
			return err
		}
		if err := g.Sum(make([]float32, n)); err != nil {
			return err
		}
		most, err := g.Most(g.Traffic().Since(before, 2))
		const ring = 2 * (size - 1) * 4 * n / size
		if err == nil && (most.Sums.Sent != ring || most.Sums.Received != ring || !(most.Sums.Waited > 0) || most.Words.Sent != 0) {
			err = fmt.Errorf("%+v, want %d bytes a sum", most, ring)
		}
		if w := g.Traffic().Words; err == nil && (w.Sent != w.Received || w.Sent != (size-1)*float64(3*8*len((&Traffic{}).flows()))) {
			err = fmt.Errorf("words: %+v", w)
		}
		return err
	}))
}

// What is gathered, sent and broadcast arrives as it was, at whom it is for.
func TestMessages(t *testing.T) {
	const size = 3
	for name, groups := range makers {
		must(t, together(groups(t, size), func(g *Group) error {
			own := bytes.Repeat([]byte{byte(g.Rank() + 1)}, 10*g.Rank())
			all, err := g.Gather(own)
			if err != nil {
				return err
			}
			for r, b := range all {
				if !bytes.Equal(b, bytes.Repeat([]byte{byte(r + 1)}, 10*r)) {
					return fmt.Errorf("%s: rank %d gave %v", name, r, b)
				}
			}
			b := []byte{byte(g.Rank()), 7}
			if err := g.Broadcast(2, b); err != nil || b[0] != 2 {
				return fmt.Errorf("%s: broadcast %v: %w", name, b, err)
			}
			got := []byte{99}
			err = both(func() error { return g.Send((g.Rank()+1)%size, []byte{byte(g.Rank())}) },
				func() error { return g.Recv((g.Rank()+size-1)%size, got) })
			if err != nil || int(got[0]) != (g.Rank()+size-1)%size {
				return fmt.Errorf("%s: received %v: %w", name, got, err)
			}
			return nil
		}))
	}
}

// Ranks that do different things are told, and none waits for ever.
func TestDisorder(t *testing.T) {
	gs := InProcess(2)
	for r, err := range together(gs, func(g *Group) error {
		if g.Rank() == 0 {
			return g.Sum(make([]float32, 10))
		}
		return g.Barrier()
	}) {
		if err == nil {
			t.Errorf("rank %d noticed nothing", r)
		}
	}
	gs = InProcess(3)
	gone := errors.New("gone")
	for r, err := range together(gs, func(g *Group) error {
		if g.Rank() == 1 {
			time.Sleep(10 * time.Millisecond)
			return g.Break(gone)
		}
		return g.Sum(make([]float32, 10))
	}) {
		if err == nil || r == 1 && !errors.Is(err, gone) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// A rank's parts follow each other and are all there is.
func TestBlock(t *testing.T) {
	for size := 1; size < 6; size++ {
		for n := range 20 {
			at := 0
			for r := range size {
				lo, hi := (&Group{rank: r, size: size}).Block(n)
				if lo != at || hi < lo || hi-lo > n/size+1 {
					t.Fatalf("rank %d of %d has [%d, %d) of %d", r, size, lo, hi, n)
				}
				at = hi
			}
			if at != n {
				t.Fatalf("%d of %d are done by %d ranks", at, n, size)
			}
		}
	}
	var alone *Group
	if lo, hi := alone.Block(5); lo != 0 || hi != 5 || alone.Size() != 1 || alone.Rank() != 0 {
		t.Error("who is alone does not do all")
	}
}

// joined are the jobs of ranks that met by a torchrun's variables on this machine.
func joined(t *testing.T, size int) []*Job {
	t.Helper()
	port := freePort(t)
	jobs, errors := make([]*Job, size), make([]error, size)
	var wg sync.WaitGroup
	for r := range size {
		wg.Go(func() { jobs[r], errors[r] = meet(t, r, size, port, nil) })
	}
	wg.Wait()
	must(t, errors)
	t.Cleanup(func() {
		for _, j := range jobs {
			quit(j)
		}
	})
	return jobs
}

// quit ends a rank without a word.
func quit(j *Job) {
	select {
	case <-j.ended:
	default:
		close(j.ended)
	}
	j.hangUp()
}

// meet joins as one rank; change may change what it goes by.
func meet(t *testing.T, rank, size, port int, change func(p *Place, build *string)) (*Job, error) {
	p := Place{By: "a test", Rank: rank, Size: size, Local: rank, Addr: "127.0.0.1", Port: port, Ports: 4,
		Token: []byte("a job")}
	build := "1"
	if change != nil {
		change(&p, &build)
	}
	return Join(t.Context(), p, build, io.Discard, func() {}, func(err error) { t.Error("to die of", err) })
}

// failing is what the ranks end with of which some fail, while the others work until they are told.
func failing(t *testing.T, jobs []*Job, fail []bool) []error {
	out := make([]error, len(jobs))
	var wg sync.WaitGroup
	for r, j := range jobs {
		wg.Go(func() {
			ctx := j.Context(t.Context())
			if fail[r] {
				out[r] = j.End(errs.Numericf("step 2: no number"))
				return
			}
			<-ctx.Done()
			out[r] = j.End(j.Barrier())
		})
	}
	wg.Wait()
	return out
}

// What a rank failed with is what all end with, by name.
func TestFailure(t *testing.T) {
	for r, err := range failing(t, joined(t, 3), []bool{false, false, true}) {
		var e *Ended
		if errs.Code(err) != 5 || r < 2 && (!errors.As(err, &e) || e.Rank != 2 || e.Told != (r == 1)) {
			t.Errorf("rank %d ends with %v", r, err)
		}
	}
}

// One rank says to people what ended the group: rank 0 what all came to, and what it heard of a rank whose lines come to
// the same terminal.
func TestFailureIsSaidOnce(t *testing.T) {
	for _, c := range []struct {
		what     string
		launched bool
		fail     []bool // by rank
		says     []bool
	}{
		{"all", false, []bool{true, true, true}, []bool{true, false, false}},
		{"all but rank 0, launched", true, []bool{false, true, true}, []bool{true, false, false}},
		{"one, launched", true, []bool{false, false, true}, []bool{true, false, false}},
		{"one", false, []bool{false, false, true}, []bool{true, false, true}},
	} {
		jobs := joined(t, 3)
		for _, j := range jobs {
			j.Place.Launched = c.launched
		}
		for r, err := range failing(t, jobs, c.fail) {
			var e *Ended
			if says := !errors.As(err, &e) || !e.Told; errs.Code(err) != 5 || says != c.says[r] ||
				strings.Count(err.Error(), "no number") != 1 || c.fail[0] && r == 0 && strings.Contains(err.Error(), "rank 1") {
				t.Errorf("%s: rank %d says %v: %v", c.what, r, says, err)
			}
		}
	}
}

// What all ranks come to is rank 0's to tell, which may come to it last: nobody tells it before.
func TestCommonFailure(t *testing.T) {
	jobs := joined(t, 3)
	fails := func(rank int) error {
		return jobs[rank].End(Common(errs.Numericf("rank 1: step 2: no number")))
	}
	first := jobs[0].Context(t.Context())
	out := make([]error, 3)
	var wg sync.WaitGroup
	for r := 1; r < 3; r++ {
		wg.Go(func() { out[r] = fails(r) })
	}
	select {
	case <-first.Done():
		t.Errorf("rank 0 is told before it knows: %v", first.Err())
	case <-time.After(300 * time.Millisecond):
	}
	out[0] = fails(0)
	wg.Wait()
	for r, err := range out {
		var e *Ended
		if told := errors.As(err, &e) && e.Told; errs.Code(err) != 5 || told != (r > 0) {
			t.Errorf("rank %d: told %v: %v", r, told, err)
		}
	}
	if got := out[0].Error(); got != "rank 1: step 2: no number" {
		t.Error(got)
	}
	if Common(nil) != nil {
		t.Error("none is an error")
	}
}

// A rank that is gone without a word ends the others at once, with its name.
func TestGone(t *testing.T) {
	for _, gone := range []int{0, 1} {
		jobs := joined(t, 3)
		var wg sync.WaitGroup
		for r, j := range jobs {
			if r == gone {
				continue
			}
			wg.Go(func() {
				err := j.Barrier()
				var e *Ended
				if !errors.As(err, &e) || e.Rank != gone || errs.Code(err) != 1 {
					t.Errorf("rank %d: %v", r, err)
				}
			})
		}
		quit(jobs[gone])
		wg.Wait()
	}
}
