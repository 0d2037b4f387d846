package doctor

import (
	"strings"
)

// NCCL is the library by which several GPUs add up.
type NCCL struct {
	File    string  `json:"file"` // "" where it was not found, or not looked for
	Version string  `json:"version"`
	Places  []Place `json:"places"`
	Error   string  `json:"error,omitempty"`
	Sum     *Sum    `json:"sum,omitempty"` // where there are several GPUs
}

// Sum is a sum over several GPUs that was tried.
type Sum struct {
	GPUs    int     `json:"gpus"`
	Bytes   int64   `json:"bytes"`   // of the vector
	Seconds float64 `json:"seconds"` // of one sum, the median
	Right   bool    `json:"right"`   // every element, on every GPU
}

// Rate is what each GPU sends and receives a second, in bytes: 2(P-1)/P of the vector each way.
func (s Sum) Rate() float64 {
	return 2 * float64(s.GPUs-1) / float64(s.GPUs) * float64(s.Bytes) / s.Seconds
}

// testSum tries a sum over all GPUs.
func (r *Report) testSum(g Given, begun func(what string)) {
	if g.Sum == nil {
		return
	}
	begun("sums between GPUs")
	s, err := g.Sum()
	if err != nil {
		r.NCCL.Error = err.Error()
		return
	}
	r.NCCL.Sum = &s
	r.OK = r.OK && s.Right
}

// print says where the library is and what a sum gave.
func (n *NCCL) print(row func(name, format string, a ...any)) {
	name := "NCCL"
	say := func(format string, a ...any) {
		row(name, format, a...)
		name = ""
	}
	if n.File != "" {
		say("%s from %s", n.Version, n.File)
	}
	if s := n.Sum; s != nil {
		right := "right"
		if !s.Right {
			right = "WRONG"
		}
		say("a sum of %d MiB over %d GPUs is %s, in %.2f ms: %.0f GB/s each way", s.Bytes>>20, s.GPUs, right, 1e3*s.Seconds,
			s.Rate()/1e9)
	}
	if n.Error != "" {
		say("%s", n.Error)
	}
	if n.File == "" {
		for _, p := range n.Places {
			say("%s: %s", p.Where, p.text())
		}
	}
}

// text is what is opened at a place.
func (p Place) text() string {
	if len(p.Files) == 0 {
		return "not there"
	}
	files := strings.Join(p.Files, ", ")
	if !strings.Contains(files, "/") { // names: only opening them shows whether they are there
		files = "looked up by name, " + files
	}
	return files
}
