package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// series is one curve of a chart: points in order of X, and where each stands for several, their least and greatest.
type series struct {
	Name   string
	X, Y   []float64
	Lo, Hi []float64
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

// axes say how a chart's values are laid out.
type axes struct {
	X, Y       string    // labels
	XAt        []float64 // where the ticks of X stand; free when empty
	LogX, LogY bool
	Marks      bool // a dot at each point: there are few of them
	Zero       bool // Y begins at 0
}

// Figure is a drawn chart. Its colours are variables of the page's style, so that they follow light and dark.
type Figure struct {
	Title  string
	W, H   int
	Body   template.HTML // inside of an svg element
	Legend []Key
}

// Key is one entry of a legend.
type Key struct {
	Colour int // 1 to colours
	Dashed bool
	Name   string
}

// Size of a chart in CSS pixels, before it is scaled to its column.
const (
	width, height = 360, 220
	colours       = 6
)

// Colours that gonum/plot draws with and that become variables afterwards: kind 0xf1 a curve, 0xf2 its band, 0xf3 the
// axes (0) and grid (1).
func mark(kind, n int) color.Color { return color.RGBA{uint8(kind), 0, uint8(n), 255} }

var toVariables = func() *strings.Replacer {
	var pairs []string
	for n := range colours {
		pairs = append(pairs, fmt.Sprintf("#F100%02X", n), fmt.Sprintf("var(--c%d)", n+1),
			fmt.Sprintf("fill:#F200%02X", n), fmt.Sprintf("fill:var(--c%d);fill-opacity:.2", n+1))
	}
	return strings.NewReplacer(append(pairs, "#F30000", "var(--muted)", "#F30001", "var(--grid)")...)
}()

// chart draws curves; ok is false where there is nothing to draw.
func chart(title string, a axes, curves ...series) (f Figure, ok bool, err error) {
	p := plot.New()
	p.BackgroundColor = nil
	grid := plotter.NewGrid()
	for _, l := range []*draw.LineStyle{&grid.Horizontal, &grid.Vertical} {
		l.Color, l.Width = mark(0xf3, 1), 0.75
	}
	p.Add(grid)
	f = Figure{Title: title, W: width, H: height}
	for i, s := range curves {
		if len(s.X) == 0 {
			continue
		}
		n := i % colours
		f.Legend = append(f.Legend, Key{n + 1, s.Dashed || i >= colours, s.Name})
		if err := addCurve(p, a, s, n, i >= colours); err != nil {
			return f, false, fmt.Errorf("chart %q: %w", title, err)
		}
	}
	if len(f.Legend) == 0 {
		return f, false, nil
	}
	setAxis(&p.X, a.X, a.LogX, false)
	setAxis(&p.Y, a.Y, a.LogY, a.Zero)
	if len(a.XAt) > 0 {
		p.X.Tick.Marker = at(a.XAt)
	}
	c := vgsvg.New(width, height)
	// What stands at the axes' ends reaches beyond them.
	p.Draw(draw.Crop(draw.New(c), 2, -10, 2, -6))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return f, false, fmt.Errorf("chart %q: %w", title, err)
	}
	f.Body, err = inside(b.String())
	return f, true, err
}

// inside takes the header and the root element off a drawing.
func inside(svg string) (template.HTML, error) {
	i, j := strings.Index(svg, "<g "), strings.LastIndex(svg, "</svg>")
	if i < 0 || j < i {
		return "", fmt.Errorf("the drawing is no SVG: %.80q", svg)
	}
	// Text that a drawing holds is escaped already: tick labels and axes' labels alone, no word of a user's.
	return template.HTML(toVariables.Replace(svg[i:j])), nil //nolint:gosec // see above
}

func addCurve(p *plot.Plot, a axes, s series, n int, dashed bool) error {
	if len(s.Lo) > 0 {
		var ring plotter.XYs
		for i := range s.X {
			ring = append(ring, plotter.XY{X: s.X[i], Y: s.Hi[i]})
		}
		for i := len(s.X) - 1; i >= 0; i-- {
			ring = append(ring, plotter.XY{X: s.X[i], Y: s.Lo[i]})
		}
		band, err := plotter.NewPolygon(ring)
		if err != nil {
			return err
		}
		band.Color, band.LineStyle.Width = mark(0xf2, n), 0
		p.Add(band)
	}
	points := make(plotter.XYs, len(s.X))
	for i := range points {
		points[i] = plotter.XY{X: s.X[i], Y: s.Y[i]}
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = mark(0xf1, n), 1.75
	if s.Dashed || dashed {
		line.Dashes = []vg.Length{6, 3}
	}
	p.Add(line)
	if a.Marks && !s.Dashed || len(points) == 1 {
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		dots.Color, dots.Shape, dots.Radius = mark(0xf1, n), draw.CircleGlyph{}, 3.25
		p.Add(dots)
	}
	return nil
}

// setAxis styles an axis and gives its range some room.
func setAxis(x *plot.Axis, label string, log, zero bool) {
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	x.Label.Text, x.Label.TextStyle.Font, x.Label.TextStyle.Color, x.Label.Padding = label, sans, mark(0xf3, 0), 4
	x.Tick.Label.Font, x.Tick.Label.Color, x.Tick.Color, x.Tick.Length = sans, mark(0xf3, 0), mark(0xf3, 1), 4
	x.Color, x.Padding = mark(0xf3, 0), 0
	x.Tick.Marker = linear{}
	switch {
	case log:
		x.Scale, x.Tick.Marker = plot.LogScale{}, decades{}
		room := math.Pow(x.Max/x.Min, 0.04)
		if room == 1 {
			room = 1.5
		}
		x.Min, x.Max = x.Min/room, x.Max*room
	case zero:
		if x.Min, x.Max = min(x.Min, 0), x.Max*1.06; x.Min == x.Max {
			x.Max++
		}
	default:
		room := (x.Max - x.Min) * 0.04
		if room == 0 {
			room = max(math.Abs(x.Max)*0.05, 1e-12)
		}
		x.Min, x.Max = x.Min-room, x.Max+room
	}
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

// linear places round values on an axis: multiples of 1, 2 or 5 times a power of ten, three to six of them.
type linear struct{}

func (linear) Ticks(lo, hi float64) (out []plot.Tick) {
	least := (hi - lo) / 5
	step := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*step >= least {
			step *= m
			break
		}
	}
	first := math.Ceil(lo / step)
	for i := range 7 {
		if v := (first + float64(i)) * step; v <= hi {
			out = append(out, plot.Tick{Value: v, Label: number(v)})
		}
	}
	return out
}

// decades places powers of ten on a logarithmic axis, at most six of them, and twice and five times them where those
// are few.
type decades struct{}

func (decades) Ticks(lo, hi float64) (out []plot.Tick) {
	first, last := math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	every := max(1, math.Ceil((last-first)/6))
	for e := first; e <= last; e++ {
		for _, m := range []float64{1, 2, 5} {
			if m > 1 && hi > 500*lo || math.Mod(e, every) != 0 {
				break
			}
			if v := m * math.Pow(10, e); v >= lo && v <= hi {
				out = append(out, plot.Tick{Value: v, Label: number(v)})
			}
		}
	}
	if len(out) == 0 {
		return linear{}.Ticks(lo, hi)
	}
	return out
}

// at places the values given.
type at []float64

func (a at) Ticks(lo, hi float64) []plot.Tick {
	vs := slices.Clone(a)
	for len(vs) > 7 { // labels would touch; the longest stays
		for i := len(vs) - 2; i >= 0; i -= 2 {
			vs = slices.Delete(vs, i, i+1)
		}
	}
	var out []plot.Tick
	for _, v := range vs {
		if v >= lo && v <= hi {
			out = append(out, plot.Tick{Value: v, Label: number(v)})
		}
	}
	return out
}

// number writes a value in a few digits, or whole with its thousands parted.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1e7 || a > 0 && a < 1e-2:
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', 2, 64), "e")
		return trim(mantissa) + "e" + strings.NewReplacer("+0", "", "-0", "-", "+", "").Replace(exponent)
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	}
	return trim(strconv.FormatFloat(v, 'f', decimals(a), 64))
}

func decimals(a float64) int {
	switch {
	case a >= 100:
		return 1
	case a >= 10:
		return 2
	case a >= 1:
		return 3
	}
	return 5
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// thousands writes 16384 as 16,384.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
