package extend

import (
	"io"
	"strings"
	"sync"
)

// once stands before a log and lets a note or a warning pass the first time alone: the same data and the same base are
// opened at every stage. Each is one call of Write.
type once struct {
	w    io.Writer
	mu   sync.Mutex
	said map[string]bool
}

// Write writes p, or passes it over.
func (o *once) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if line := string(p); strings.HasPrefix(line, "note: ") || strings.HasPrefix(line, "warning: ") {
		if o.said[line] {
			return len(p), nil
		}
		o.said[line] = true
	}
	return o.w.Write(p)
}

// Unwrap is the log.
func (o *once) Unwrap() io.Writer { return o.w }
