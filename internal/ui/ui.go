// Package ui shows progress on stderr and writes what a run leaves for other programs to read.
package ui

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

// Progress is a bar on a terminal and plain lines elsewhere: at most one a second, fewer in what takes long.
type Progress struct {
	w           io.Writer
	title       string
	total, done int
	bar         *progressbar.ProgressBar
	begun, last time.Time
	first       int
	whole       bool // the line of the last one was written
}

// NewProgress starts at done of total.
func NewProgress(w io.Writer, title string, total, done int) *Progress {
	p := &Progress{w: w, title: title, total: total, done: done, first: done, begun: time.Now()}
	if f, ok := Terminal(w); ok {
		p.w = f // the bar moves the cursor
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(title),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(), progressbar.OptionSetElapsedTime(true))
		_ = p.bar.Set(done) // a bar that cannot be drawn is no reason to stop
	}
	return p
}

// Step counts one more.
func (p *Progress) Step(detail string) { p.At(p.done+1, detail) }

// At says that so many are done.
func (p *Progress) At(done int, detail string) {
	p.done, detail = done, inLine(detail) // which may be a name out of a file
	if p.bar != nil {
		p.bar.Describe(p.title + "  " + detail)
		_ = p.bar.Set(p.done)
		return
	}
	now := time.Now()
	if end := p.done == p.total; now.Sub(p.last) >= p.quiet(now) || end && !p.whole {
		p.last, p.whole = now, end
		left := now.Sub(p.begun).Seconds() / float64(max(1, p.done-p.first)) * float64(p.total-p.done)
		fmt.Fprintf(p.w, "%s %d/%d  %s  %s left\n", p.title, p.done, p.total, detail, Duration(left))
	}
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
	fmt.Fprintf(p.w, format+"\n", a...)
}

// Done ends the bar's line.
func (p *Progress) Done() {
	if p.bar != nil {
		fmt.Fprintln(p.w)
	}
}

// Bytes writes a size in the largest binary unit that keeps it readable.
func Bytes(n int64) string {
	const unit = 1024
	f, names := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for f >= unit && i < len(names)-1 {
		f, i = f/unit, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.2f %s", f, names[i])
}

// Duration writes seconds as 1h02m, 3m04s or 5s.
func Duration(s float64) string {
	n := int(s + 0.5)
	switch {
	case n >= 3600:
		return fmt.Sprintf("%dh%02dm", n/3600, n/60%60)
	case n >= 60:
		return fmt.Sprintf("%dm%02ds", n/60, n%60)
	}
	return fmt.Sprintf("%ds", n)
}

// Table writes rows in columns, numbers to the right.
func Table(w io.Writer, rows [][]string) {
	var width []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				b.WriteString(c + pad)
			} else {
				b.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
