package data

import (
	"fmt"
	"sync"

	"longlora/internal/data/datafile"
	"longlora/internal/data/plaintext"
)

// replaced gathers what was read in another encoding than UTF-8, for a note.
type replaced struct {
	mu            sync.Mutex
	places, files int
	first         string // where the first place is
}

// add takes in what was seen of a file.
func (c *replaced) add(x *datafile.File) {
	if x.Watch.Bad == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == 0 {
		c.first = fmt.Sprintf("line %d", x.Watch.Line)
		if k, _ := datafile.KindOf(x.Path); k == datafile.Parquet || k == datafile.Arrow {
			c.first = fmt.Sprintf("row %d", x.Watch.Line)
		}
		c.first += " of " + x.Path
	}
	c.places += x.Watch.Bad
	c.files++
}

// noteReplaced says that text is not read as its bytes stand there.
func (s *source) noteReplaced() {
	c := &s.replaced
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == 0 {
		return
	}
	where := ""
	if c.files > 1 {
		where = fmt.Sprintf(" in %d files", c.files)
	}
	s.note("%s: %s", s.path, plaintext.SayReplaced(c.places, where, c.first))
	c.places, c.files = 0, 0
}
