package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// drawing is a chart's SVG while it is written.
type drawing struct {
	strings.Builder
	a                        axes
	curves                   []series
	x, y                     scale
	left, top, right, bottom float64 // of the plane that curves lie in
	w, h                     float64
}

// letter is about the width of a character in a chart, and line the height of a line of text.
const (
	letter = 6.1
	line   = 12.5
)

func newDrawing(f Figure, a axes, curves []series) *drawing {
	d := &drawing{a: a, curves: curves, w: float64(f.W), h: float64(f.H)}
	var xs, ys []float64
	if a.Share {
		ys = append(ys, 100)
	}
	for _, s := range curves {
		xs, ys = append(xs, s.X...), append(append(append(ys, s.Y...), s.Lo...), s.Hi...)
	}
	d.x, d.y = newScale(xs, a.LogX, false, a.XAt), newScale(ys, a.LogY, a.Zero, nil)
	widest, ends := 0, 0
	for _, t := range d.y.ticks {
		widest = max(widest, utf8.RuneCountInString(t.label))
	}
	for _, s := range curves {
		ends = max(ends, utf8.RuneCountInString(brief(s.Y[len(s.Y)-1])))
	}
	d.left, d.right = 8+letter*float64(widest), d.w-8-letter*float64(ends)
	d.top, d.bottom = 20, d.h-30
	return d
}

// px and py are a point's place. Numbers that are far off stay near.
func (d *drawing) px(v float64) float64 { return place(d.left, d.right, d.x.at(v)) }
func (d *drawing) py(v float64) float64 { return place(d.bottom, d.top, d.y.at(v)) }

func place(from, to, share float64) float64 {
	if math.IsNaN(share) {
		share = 0
	}
	return math.Round(10*(from+(to-from)*max(-1, min(2, share)))) / 10
}

// grid draws axes and their labels.
func (d *drawing) grid() {
	for _, t := range d.y.ticks {
		y := d.py(t.at)
		fmt.Fprintf(d, `<path class="g" d="M%v %vH%v"/><text x="%v" y="%v" text-anchor="end">%s</text>`, d.left, y,
			d.right, d.left-5, y+4, t.label)
	}
	for _, t := range d.x.ticks {
		x := d.px(t.at)
		anchor := "middle"
		if half := letter * float64(utf8.RuneCountInString(t.label)) / 2; x+half > d.w {
			anchor = "end"
		}
		fmt.Fprintf(d, `<path class="g" d="M%v %vV%v"/><text x="%v" y="%v" text-anchor="%s">%s</text>`, x, d.top,
			d.bottom, x, d.bottom+14, anchor, t.label)
	}
	fmt.Fprintf(d, `<path class="a" d="M%v %vV%vH%v"/>`, d.left, d.top, d.bottom, d.right)
	fmt.Fprintf(d, `<text x="%v" y="11">%s</text><text x="%v" y="%v" text-anchor="middle">%s</text>`, 2,
		html.EscapeString(d.a.Y), (d.left+d.right)/2, d.h-3, html.EscapeString(d.a.X))
}

// curve draws a curve, with its band and its marks.
func (d *drawing) curve(s series) {
	if len(s.Lo) > 0 {
		var b strings.Builder
		for i := range s.X {
			fmt.Fprintf(&b, "L%v %v", d.px(s.X[i]), d.py(s.Hi[i]))
		}
		for i := len(s.X) - 1; i >= 0; i-- {
			fmt.Fprintf(&b, "L%v %v", d.px(s.X[i]), d.py(s.Lo[i]))
		}
		fmt.Fprintf(d, `<path class="b%d" d="M%sz"/>`, s.Style, b.String()[1:])
	}
	var b strings.Builder
	for i := range s.X {
		fmt.Fprintf(&b, "L%v %v", d.px(s.X[i]), d.py(s.Y[i]))
	}
	fmt.Fprintf(d, `<path class="l s%d" d="M%s"/>`, s.Style, b.String()[1:])
	if d.a.Marks && !s.Dashed || len(s.X) == 1 {
		for i := range s.X {
			d.WriteString(mark(s.Style, d.px(s.X[i]), d.py(s.Y[i])))
		}
	}
}

// mark is a style's mark at a place.
func mark(style int, x, y float64) string {
	shape := ""
	switch style {
	case 1, 4:
		return fmt.Sprintf(`<circle class="m%d" cx="%v" cy="%v" r="3.4"/>`, style, x, y)
	case 2, 5:
		shape = fmt.Sprintf("M%v %vl4 7h-8z", x, y-4)
	default:
		shape = fmt.Sprintf("M%v %vh6.4v6.4h-6.4z", x-3.2, y-3.2)
	}
	return fmt.Sprintf(`<path class="m%d" d="%s"/>`, style, shape)
}

// key is a curve's sample for a legend, 30 by 10.
func key(s series, marks bool) template.HTML {
	out := fmt.Sprintf(`<path class="l s%d" d="M1 5H29"/>`, s.Style)
	if marks && !s.Dashed {
		out += mark(s.Style, 15, 5)
	}
	return template.HTML(out) //nolint:gosec // numbers alone
}

// ends writes the last value of each curve beside its end, and the first one above its beginning where there is room.
func (d *drawing) ends() {
	type label struct {
		style int
		y     float64
		text  string
	}
	var at []label
	for _, s := range d.curves {
		if s.X[0] == s.X[len(s.X)-1] && len(s.X) > 1 { // a line that stands upright has no value
			continue
		}
		v := s.Y[len(s.Y)-1]
		at = append(at, label{s.Style, d.py(v), brief(v)})
	}
	slices.SortStableFunc(at, func(a, b label) int { return int(10 * (a.y - b.y)) })
	for i := range at { // apart, and then back within the chart
		if i > 0 {
			at[i].y = max(at[i].y, at[i-1].y+line)
		}
	}
	if n := len(at); n > 0 {
		at[n-1].y = min(at[n-1].y, d.bottom)
		for i := n - 2; i >= 0; i-- {
			at[i].y = min(at[i].y, at[i+1].y-line)
		}
	}
	for _, l := range at {
		fmt.Fprintf(d, `<text class="e%d" x="%v" y="%v">%s</text>`, l.style, d.right+6, math.Round(l.y+4), l.text)
	}
	if s := d.curves[0]; d.a.Wide && len(s.X) > 1 && !s.Dashed {
		d.first(s)
	}
}

// first writes a curve's first value above or below all that is drawn where the label goes, whichever is nearer;
// nothing where neither is near.
func (d *drawing) first(s series) {
	text := brief(s.Y[0])
	x, y := d.px(s.X[0]), d.py(s.Y[0])
	end := x + 8 + letter*float64(utf8.RuneCountInString(text))
	high, low := y, y
	for _, c := range d.curves {
		for i := range c.X {
			if i > 0 && d.px(c.X[i-1]) > end || d.px(c.X[i]) < x || c.X[0] == c.X[len(c.X)-1] {
				continue
			}
			at := d.py(c.Y[i])
			if over := d.px(c.X[i]) - end; over > 0 && i > 0 { // the line to it leaves the label's place before
				was := d.px(c.X[i-1])
				at += (d.py(c.Y[i-1]) - at) * over / (d.px(c.X[i]) - was)
			} else if over > 0 {
				continue
			}
			high, low = min(high, at), max(low, at)
		}
	}
	near := 3 * line
	for _, at := range []float64{high - 5, low + line} {
		if far := math.Abs(at - y); far < math.Abs(near) && at > d.top && at < d.bottom-3 {
			near = at - y
		}
	}
	if near < 3*line {
		fmt.Fprintf(d, `<text class="e%d" x="%v" y="%v">%s</text>`, s.Style, x+4, math.Round(y+near), text)
	}
}

// stops is how many places of a chart show their values.
const stops = 100

// hover makes places that show the values of all curves while the pointer is on them.
func (d *drawing) hover() {
	var xs []float64
	for _, s := range d.curves {
		if !s.Dashed {
			xs = append(xs, s.X...)
		}
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	for every := (len(xs) + stops - 1) / stops; every > 1; every = 0 {
		var some []float64
		for i := 0; i < len(xs); i += every {
			some = append(some, xs[i])
		}
		xs = some
	}
	for i, x := range xs {
		at, from, to := d.px(x), d.left, d.right
		if i > 0 {
			from = (d.px(xs[i-1]) + at) / 2
		}
		if i+1 < len(xs) {
			to = (at + d.px(xs[i+1])) / 2
		}
		rows := []string{number(x) + " " + html.EscapeString(unit(d.a.X))}
		for _, s := range d.curves {
			if j, ok := slices.BinarySearch(s.X, x); ok && !s.Dashed {
				rows = append(rows, html.EscapeString(shortened(s.Name, 22))+" "+brief(s.Y[j]))
			}
		}
		d.tip(at, from, to, rows)
	}
}

// unit is what an axis counts, as a number is followed by it: "tokens", or nothing in the place of "step".
func unit(label string) string {
	if label == "step" {
		return "(step)"
	}
	return label
}

// tip is one place with what it shows.
func (d *drawing) tip(at, from, to float64, rows []string) {
	wide := 0
	for _, r := range rows {
		wide = max(wide, utf8.RuneCountInString(html.UnescapeString(r)))
	}
	w := letter*float64(wide) + 8
	x := at + 6
	if x+w > d.w {
		x = max(0, at-6-w)
	}
	fmt.Fprintf(d, `<g class="h"><path class="z" d="M%.1f %vH%.1fV%vH%.1fz"/><path class="t" d="M%v %vV%v"/>`, from, d.top,
		to, d.bottom, from, at, d.top, d.bottom)
	fmt.Fprintf(d, `<path class="p" d="M%.1f %vh%.1fv%vh-%.1fz"/><text y="%v">`, x, d.top, w, line*float64(len(rows))+6,
		w, d.top+2)
	for _, r := range rows {
		fmt.Fprintf(d, `<tspan x="%.1f" dy="%v">%s</tspan>`, x+4, line, r)
	}
	d.WriteString("</text></g>")
}
