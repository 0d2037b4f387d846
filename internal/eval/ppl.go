package eval

import (
	"encoding/json"
	"fmt"
	"math"
)

// PPL is a perplexity, e^loss. A loss above 709.78 has none in float64: it is infinite, a result like others, and null
// in JSON, beside the loss that tells models apart still and a note that says so.
type PPL float64

// infinite is the note beside a null.
const infinite = "the perplexity, e^loss, is infinite: beyond float64's largest number"

// NewPPL is the perplexity of a loss, and the note that it wants, "" for none.
func NewPPL(loss float64) (*PPL, string) {
	p := PPL(math.Exp(loss))
	if p.Infinite() {
		return &p, infinite
	}
	return &p, ""
}

// Infinite reports whether float64 has no number for it.
func (p PPL) Infinite() bool { return math.IsInf(float64(p), 1) }

// MarshalJSON writes an infinite one as null.
func (p PPL) MarshalJSON() ([]byte, error) {
	if p.Infinite() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(p))
}

func (p PPL) String() string { return p.Digits(4) }

// Digits writes so many decimals, and a few digits in all where there would be more than a float64 has.
func (p PPL) Digits(n int) string {
	switch v := float64(p); {
	case p.Infinite():
		return "infinite"
	case v >= 1e15:
		return fmt.Sprintf("%.4g", v)
	default:
		return fmt.Sprintf("%.*f", n, v)
	}
}

// readPPL is what a file says of a perplexity: a null beside a loss is infinite.
func readPPL(p *PPL, loss *float64) *PPL {
	if p == nil && loss != nil {
		p, _ = NewPPL(math.Inf(1))
	}
	return p
}

// UnmarshalJSON reads what eval wrote.
func (r *Result) UnmarshalJSON(b []byte) error {
	type plain Result // without this method
	if err := json.Unmarshal(b, (*plain)(r)); err != nil {
		return err
	}
	r.PPL = readPPL(r.PPL, r.Loss)
	return nil
}

// Figures are what one model scores at one length; nil where the task was left out.
type Figures struct {
	PPL       *PPL       `json:"ppl"`
	Loss      *float64   `json:"loss,omitempty"`
	Note      string     `json:"note,omitempty"`
	Positions []Position `json:"positions,omitempty"` // of the perplexity's windows
	Accuracy  *float64   `json:"passkey"`
	Cells     []Cell     `json:"cells,omitempty"`
	Missed    []Miss     `json:"missed,omitempty"`
	Ruler     *Ruler     `json:"ruler,omitempty"` // the RULER-like tasks
}

// Add takes a task's result over.
func (f *Figures) Add(r Result) {
	if r.PPL != nil {
		f.PPL, f.Loss, f.Note, f.Positions = r.PPL, r.Loss, r.Note, r.Positions
	}
	if r.Accuracy != nil {
		f.Accuracy, f.Cells, f.Missed = r.Accuracy, r.Cells, r.Missed
	}
	if r.Ruler != nil {
		f.Ruler = r.Ruler
	}
}

// UnmarshalJSON reads what extend wrote.
func (f *Figures) UnmarshalJSON(b []byte) error {
	type plain Figures
	if err := json.Unmarshal(b, (*plain)(f)); err != nil {
		return err
	}
	f.PPL = readPPL(f.PPL, f.Loss)
	return nil
}
