package ui

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

// Progress is a bar on a terminal and plain lines elsewhere: at most one a second, fewer in what takes long.
type Progress struct {
	w           io.Writer
	term        *os.File // nil: plain lines
	bar         *progressbar.ProgressBar
	title       string
	detail      string
	total, done int
	begun, last time.Time
	first       int
	whole       bool // the line of the last one was written
}

// NewProgress starts at done of total.
func NewProgress(w io.Writer, title string, total, done int) *Progress {
	p := &Progress{w: w, title: title, total: total, done: done, first: done, begun: time.Now()}
	if f, ok := Terminal(w); ok {
		p.w, p.term = f, f // which moves the cursor
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
			progressbar.OptionFullWidth(), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
			progressbar.OptionUseANSICodes(true), progressbar.OptionThrottle(100*time.Millisecond))
		p.draw()
	}
	return p
}

// Step counts one more.
func (p *Progress) Step(detail string) { p.At(p.done+1, detail) }

// At says that so many are done.
func (p *Progress) At(done int, detail string) {
	p.done, p.detail = done, inLine(detail) // which may be a name out of a file
	if p.bar != nil {
		p.draw()
		return
	}
	now, end := time.Now(), p.done == p.total
	if now.Sub(p.last) >= p.quiet(now) || end && !p.whole {
		p.last, p.whole = now, end
		time := ""
		switch {
		case end:
			time = "  " + p.took(now)
		case p.done > p.first:
			time = "  " + p.left(now) + " left"
		}
		fmt.Fprintf(p.w, "%s %d/%d  %s%s\n", p.title, p.done, p.total, p.detail, time)
	}
}

// left is how long the rest takes at the speed so far.
func (p *Progress) left(now time.Time) string {
	each := now.Sub(p.begun).Seconds() / float64(max(1, p.done-p.first))
	return Duration(math.Round(each * float64(p.total-p.done)))
}

// took is how long all of it took.
func (p *Progress) took(now time.Time) string { return "took " + Duration(now.Sub(p.begun).Seconds()) }

// draw draws the bar, unless it was drawn just now. That it cannot be drawn is no reason to stop.
func (p *Progress) draw() {
	now := time.Now()
	since, left := Duration(math.Round(now.Sub(p.begun).Seconds()))+" so far", ""
	if p.done > p.first {
		left = p.left(now)
	}
	if p.done == p.total {
		since, left = p.took(now), ""
	}
	count := len(fmt.Sprintf("(%d/%d)", p.done, p.total))
	p.bar.Describe(described(p.columns()-count-barTakes, p.title, p.detail, since, left))
	_ = p.bar.Set(p.done)
}

// columns is the width of the bar's terminal; some, as a container's, say none.
func (p *Progress) columns() int {
	if n := Columns(p.term); n >= 10 {
		return n
	}
	return 80
}

// barTakes is what a line has besides the description and the count: the share done, blanks, and a bar of 8 characters.
const barTakes = 11 + 8

// described says what is done, how it goes and the time, as much of it as fits n characters: how long is left stays
// before the details' second half does, and the first half before that.
func described(n int, title, detail, since, left string) string {
	first, _, _ := strings.Cut(detail, "  ")
	tries := [][]string{{detail, since}, {first, since}, {first}, {since}}
	if left != "" {
		left += " left"
		tries = [][]string{{detail, since + ", " + left}, {detail, left}, {first, left}, {first}, {left}}
	}
	for _, parts := range tries {
		line := title
		for _, s := range parts {
			if s != "" {
				line += "  " + s
			}
		}
		if utf8.RuneCountInString(line) <= n {
			return line
		}
	}
	return cut(title, n)
}

// cut is the beginning of a text, of at most n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:max(0, n)])
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
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	Say(p.w, format, a...)
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

// Done ends the bar's line. Where all is done, what came of it stands there instead of the bar.
func (p *Progress) Done() {
	if p.bar == nil {
		return
	}
	if p.done == p.total {
		_ = p.bar.Clear()
		count := fmt.Sprintf("%s  %d/%d", p.title, p.done, p.total)
		fmt.Fprint(p.w, described(p.columns()-1, count, p.detail, p.took(time.Now()), ""))
	}
	fmt.Fprintln(p.w)
}
