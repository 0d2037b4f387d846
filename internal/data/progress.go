package data

import (
	"fmt"
	"os"
	"time"

	"longlora/internal/ui"
)

// progress shows how far reading a source is, once it has taken a while.
type progress struct {
	s     *source
	title string
	total int64
	begun time.Time
	first int64 // bytes read before, by an earlier run
	unit  int64 // bytes that the bar counts as one
	bar   *ui.Progress
}

// patience is how long reading goes on before it is spoken of.
const patience = 2 * time.Second

func newProgress(s *source, title string) *progress {
	p := &progress{s: s, title: title, begun: time.Now()}
	for _, f := range s.files {
		if st, err := os.Stat(f); err == nil {
			p.total += st.Size()
		}
	}
	return p
}

const mb, kb = 1_000_000, 1000

func (p *progress) show(tokens uint64) {
	if p.s.opt.Log == nil || p.bar == nil && time.Since(p.begun) < patience {
		return
	}
	if p.bar == nil {
		name := " MB"
		if p.unit = mb; p.total < 10*mb {
			name, p.unit = " kB", kb
		}
		p.bar = ui.NewProgress(p.s.opt.Log, p.title+name, int(p.total/p.unit), int(p.first/p.unit))
	}
	// what is read is not encoded yet: not all is done before done says so
	p.bar.At(min(int(min(p.s.read.Load(), p.total)/p.unit), max(0, int(p.total/p.unit)-1)), p.detail(tokens))
}

// detail is the rate so far.
func (p *progress) detail(tokens uint64) string {
	sec := time.Since(p.begun).Seconds()
	return fmt.Sprintf("%.1f MB/s  %d tokens", float64(p.s.read.Load()-p.first)/mb/sec, tokens)
}

func (p *progress) done(tokens uint64) {
	if p.bar != nil {
		p.bar.At(int(p.total/p.unit), p.detail(tokens))
		p.bar.Done()
	}
}
