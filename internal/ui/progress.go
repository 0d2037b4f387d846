package ui

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// Progress is a line that is drawn again on a terminal, and plain lines elsewhere: at most one a second, fewer in what
// takes long.
type Progress struct {
	w           io.Writer
	term        *os.File // nil: plain lines
	title       string
	detail      string
	total, done int
	begun, last time.Time
	first       int
	drawn       bool // the cursor stands in the line
	whole       bool // the line of the last one was written
}

// NewProgress starts at done of total.
func NewProgress(w io.Writer, title string, total, done int) *Progress {
	p := &Progress{w: w, title: title, total: total, done: done, first: done, begun: time.Now()}
	if f, ok := Terminal(w); ok {
		p.w, p.term = f, f // which moves the cursor
		p.draw()
	}
	return p
}

// Step counts one more.
func (p *Progress) Step(detail string) { p.At(p.done+1, detail) }

// At says that so many are done.
func (p *Progress) At(done int, detail string) {
	p.done, p.detail = done, inLine(detail) // which may be a name out of a file
	now, end := time.Now(), p.done == p.total
	if p.term != nil {
		if now.Sub(p.last) >= redrawn || end {
			p.draw()
		}
		return
	}
	if now.Sub(p.last) >= p.quiet(now) || end && !p.whole {
		p.last, p.whole = now, end
		left := ""
		if p.done > p.first {
			left = "  " + p.left(now) + " left"
		}
		fmt.Fprintf(p.w, "%s %d/%d  %s%s\n", p.title, p.done, p.total, p.detail, left)
	}
}

// redrawn is the least time between two drawings of the line.
const redrawn = 100 * time.Millisecond

// left is how long the rest takes at the speed so far.
func (p *Progress) left(now time.Time) string {
	each := now.Sub(p.begun).Seconds() / float64(max(1, p.done-p.first))
	return Duration(math.Round(each * float64(p.total-p.done)))
}

// draw draws the line in the terminal's width.
func (p *Progress) draw() {
	p.last, p.drawn = time.Now(), true
	width := Columns(p.term)
	if width < 10 {
		width = 80
	}
	left := ""
	if p.done > p.first {
		left = p.left(p.last)
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", drawn(width-1, p.title, p.done, p.total, p.detail,
		Duration(math.Round(p.last.Sub(p.begun).Seconds())), left))
}

// Widths of a bar.
const (
	leastBar = 8
	mostBar  = 40
)

// drawn is a line of at most width characters: what is done of how much, a bar where there is room, the detail, the time
// since the beginning, and the time that is left where it is known.
func drawn(width int, title string, done, total int, detail, since, left string) string {
	share := float64(done) / float64(max(1, total))
	head := fmt.Sprintf("%s %d/%d %3d %%", title, done, total, int(100*share)) // 100 % is all of it
	times := []string{since + " so far", ""}
	switch {
	case done == total:
		times[0] = "took " + since
	case left != "":
		times = []string{since + " so far, " + left + " left", left + " left", ""}
	}
	for _, time := range times {
		parts := []string{head}
		for _, s := range []string{detail, time} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		line := strings.Join(parts, "  ")
		room := width - utf8.RuneCountInString(line)
		if room < 0 {
			continue
		}
		if bar := min(room-3, mostBar); bar >= leastBar {
			full := int(share * float64(bar))
			head += " │" + strings.Repeat("█", full) + strings.Repeat(" ", bar-full) + "│"
			parts[0] = head
			line = strings.Join(parts, "  ")
		}
		return line
	}
	return cut(head, width)
}

// cut is the beginning of a text, of at most n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// quiet is how long no line follows another where there is no bar: a second at first, and half a minute in what takes
// long.
func (p *Progress) quiet(now time.Time) time.Duration {
	return min(max(time.Second, now.Sub(p.begun)/20), 30*time.Second)
}

// Say writes a line above the bar, or among the lines.
func (p *Progress) Say(format string, a ...any) {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, format+"\n", a...)
	if p.drawn {
		p.draw()
	}
}

// Done ends the bar's line.
func (p *Progress) Done() {
	if p.drawn {
		fmt.Fprintln(p.w)
		p.drawn = false
	}
}
