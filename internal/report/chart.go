package report

import (
	"html/template"
	"math"
	"slices"
	"strings"
)

// series is one curve of a chart: points in order of X, and where each stands for several, their least and greatest.
type series struct {
	Name   string
	X, Y   []float64
	Lo, Hi []float64
	Style  int  // 1 to styles; 0: by the curve's number
	Dashed bool // a limit, not a measurement
}

func (s *series) add(x, y float64) {
	if !(math.Abs(y) < 1e100) || !(math.Abs(x) < 1e100) {
		return // nothing that an axis could show
	}
	if math.Abs(y) < 1e-100 { // no axis reaches from such a number to others
		y = 0
	}
	s.X, s.Y = append(s.X, x), append(s.Y, y)
}

// Styles of curves: a colour, dashes and marks each, so that they are told apart without colour too. See page.html.
const (
	styles     = 6
	limitStyle = 7 // of a limit

	styleTrained      = 1
	styleInterpolated = 2
	styleBase         = 3
)

// axes say how a chart's values are laid out.
type axes struct {
	X, Y       string    // labels
	XAt        []float64 // where the ticks of X stand; free when empty
	LogX, LogY bool
	Marks      bool // a mark at each point: there are few of them
	Zero       bool // Y begins at 0
	Share      bool // Y is a share in percent: it ends at 100 where nothing is above
	Wide, Low  bool // the chart is twice as wide, or half as high
}

// Figure is a drawn chart. Its colours are variables of the page's style, so that they follow light and dark.
type Figure struct {
	Title     string
	W, H      int
	Wide, Low bool
	Body      template.HTML // inside of an svg element
	Legend    []Key
	Narrow    *Figure // the same for narrow screens, where it is wide
}

// Key is one entry of a legend.
type Key struct {
	Style int
	Mark  template.HTML // inside of an svg element
	Name  string
}

// Size of a chart in CSS pixels, before it is scaled to its column.
const (
	width, height       = 360, 220
	wideWidth, lowHeigh = 740, 120
)

// chart draws curves; ok is false where there is nothing to draw.
func chart(title string, a axes, curves ...series) (f Figure, ok bool) {
	f = Figure{Title: title, W: width, H: height, Wide: a.Wide, Low: a.Low}
	if a.Wide {
		f.W = wideWidth
	}
	if a.Low {
		f.H = lowHeigh
	}
	curves = slices.DeleteFunc(slices.Clone(curves), func(s series) bool { return len(s.X) == 0 })
	if len(curves) == 0 {
		return f, false
	}
	for i := range curves {
		s := &curves[i]
		switch {
		case s.Dashed:
			s.Style = limitStyle
		case s.Style == 0:
			s.Style = 1 + i%styles
		}
		f.Legend = append(f.Legend, Key{s.Style, key(*s, a.Marks), s.Name})
	}
	if a.Wide {
		a := a
		a.Wide = false
		narrow, _ := chart(title, a, curves...)
		f.Narrow = &narrow
	}
	d := newDrawing(f, a, curves)
	d.grid()
	for _, s := range curves {
		d.curve(s)
	}
	d.ends()
	d.hover()
	f.Body = template.HTML(d.String()) //nolint:gosec // numbers and escaped names
	return f, true
}

// scale lays values out on an axis.
type scale struct {
	lo, hi float64
	log    bool
	ticks  []tick
}

// newScale gives the range of values some room.
func newScale(values []float64, log, zero bool, at []float64) scale {
	s := scale{lo: slices.Min(values), hi: slices.Max(values), log: log}
	s.log = log && s.lo > 0
	switch {
	case s.log:
		room := math.Pow(s.hi/s.lo, 0.04)
		if room == 1 {
			room = 1.5
		}
		s.lo, s.hi = s.lo/room, s.hi*room
	case zero:
		if s.lo, s.hi = min(s.lo, 0), s.hi*1.06; s.lo == s.hi {
			s.hi++
		}
	default:
		room := (s.hi - s.lo) * 0.04
		if room == 0 {
			room = max(math.Abs(s.hi)*0.05, 1e-12)
		}
		s.lo, s.hi = s.lo-room, s.hi+room
	}
	switch {
	case len(at) > 0:
		s.ticks = given(at, s.lo, s.hi)
	case s.log:
		s.ticks = decades(s.lo, s.hi)
	default:
		s.ticks = linear(s.lo, s.hi)
	}
	return s
}

// at is the place of a value, from 0 to 1.
func (s scale) at(v float64) float64 {
	if s.log {
		return math.Log(v/s.lo) / math.Log(s.hi/s.lo)
	}
	return (v - s.lo) / (s.hi - s.lo)
}

// spread reports whether positive values reach over more than a decade, so that only a logarithmic axis shows them.
func spread(curves ...series) bool {
	lo, hi := math.Inf(1), 0.0
	for _, s := range curves {
		for _, y := range s.Y {
			lo, hi = min(lo, y), max(hi, y)
		}
	}
	return lo > 0 && hi > 10*lo
}

// Bars is a chart of one number for each of a few things.
type Bars struct {
	Title string
	Bars  []Bar
}

// Bar is one of them.
type Bar struct {
	Name, Text string
	Style      int
	Percent    int // of the longest
}

// bars draws one value a curve, where that is all that there is.
func bars(title string, show func(float64) string, curves ...series) (b Bars, ok bool) {
	b.Title = title
	most := 0.0
	for _, s := range curves {
		if len(s.Y) > 0 {
			most = max(most, s.Y[0])
		}
	}
	for i, s := range curves {
		if len(s.Y) == 0 {
			continue
		}
		x := Bar{Name: s.Name, Text: show(s.Y[0]), Style: s.Style}
		if x.Style == 0 {
			x.Style = 1 + i%styles
		}
		if most > 0 {
			x.Percent = max(0, int(100*s.Y[0]/most+0.5))
		}
		b.Bars = append(b.Bars, x)
	}
	return b, len(b.Bars) > 0
}

// shortened is a name of at most n characters, its end kept: paths differ there.
func shortened(name string, n int) string {
	r := []rune(strings.TrimSpace(name))
	if len(r) <= n {
		return string(r)
	}
	return "…" + string(r[len(r)-n+1:])
}
