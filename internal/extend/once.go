package extend

import (
	"io"
	"strings"
	"sync"
)

// once stands before a log and lets a note, a warning, and whatever was said before the work began pass the first time
// alone: the same data and the same base are opened at every stage, and the plan of the training is said before the
// evaluation of the base; of a plan that is the same again the process's own memory alone may differ. Each is one call
// of Write.
type once struct {
	w     io.Writer
	mu    sync.Mutex
	said  map[string]bool
	began bool
}

// begin ends the time before the work.
func (o *once) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began = true
}

// Write writes p, or passes it over.
func (o *once) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := planned(string(p))
	if o.said[line] {
		return len(p), nil
	}
	if !o.began || strings.HasPrefix(line, "note: ") || strings.HasPrefix(line, "warning: ") {
		o.said[line] = true
	}
	return o.w.Write(p)
}

// planned is a line by which what it says is known again: of one about memory what was planned, not its figures, and
// however a terminal broke it.
func planned(line string) string {
	if rest, ok := strings.CutPrefix(line, "memory "); ok {
		if _, how, ok := strings.Cut(rest, "("); ok {
			return "memory " + strings.Join(strings.Fields(how), " ")
		}
	}
	return line
}

// Unwrap is the log.
func (o *once) Unwrap() io.Writer { return o.w }
