package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalForm is Unicode normalization as of Unicode 9, which is what the library has. The properties come from
// x/text; its own transformation is not used because it breaks up runs of more than 30 combining marks and is of
// Unicode 15.
func normalForm(name string) rewrite {
	form := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}[name]
	decompose, composed := norm.NFD, name == "NFC" || name == "NFKC"
	if form == norm.NFKC || form == norm.NFKD {
		decompose = norm.NFKD
	}
	return func(t text, track bool) (text, error) {
		if normal(form, t.s) {
			return t, nil
		}
		w := newRewriter(t, track)
		var run []normRune
		flush := func() {
			sortMarks(run)
			if composed {
				run = compose(run)
			}
			for _, c := range run {
				w.put(string(c.r), c.from, c.to)
			}
			run = run[:0]
		}
		for i := 0; i < len(t.s); {
			r, n := utf8.DecodeRuneInString(t.s[i:])
			d := decomposition(decompose, r)
			// A character that is no mark, does not decompose and stands before no mark changes with nothing
			// before it but what flush joins: a composed pair of two starters begins with the earlier one.
			if len(run) > 0 && combiningClass(first(d, r)) == 0 && !joinsBackward(first(d, r)) {
				flush()
			}
			if d == "" {
				run = append(run, normRune{r, combiningClass(r), i, i + n})
			}
			for _, c := range d {
				run = append(run, normRune{c, combiningClass(c), i, i + n})
			}
			i += n
		}
		flush()
		return w.text()
	}
}

// normRune is a character with its combining class and the source bytes it stands for.
type normRune struct {
	r        rune
	class    uint8
	from, to int
}

func first(d string, r rune) rune {
	for _, c := range d {
		return c
	}
	return r
}

// normal reports that s is in the form already, for sure.
func normal(form norm.Form, s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return form.IsNormalString(s) && !holdsInert(s)
		}
	}
	return true
}

func holdsInert(s string) bool {
	for _, r := range s {
		if r >= 0x7fd && unicode.Is(inert, r) {
			return true
		}
	}
	return false
}

// decomposition is the full decomposition of r, "" for none.
func decomposition(form norm.Form, r rune) string {
	if s := r - hangulS; s >= 0 && s < nL*nV*nT {
		d := []rune{hangulL + s/(nV*nT), hangulV + s%(nV*nT)/nT, hangulT + s%nT}
		if s%nT == 0 {
			d = d[:2]
		}
		return string(d)
	}
	if r < 0xa0 || unicode.Is(inert, r) {
		return ""
	}
	return string(form.PropertiesString(string(r)).Decomposition())
}

func combiningClass(r rune) uint8 {
	if r < 0x300 || unicode.Is(inert, r) {
		return 0
	}
	return norm.NFD.PropertiesString(string(r)).CCC()
}

// sortMarks puts runs of marks in canonical order: by class, stable.
func sortMarks(run []normRune) {
	for i := 0; i < len(run); {
		if run[i].class == 0 {
			i++
			continue
		}
		j := i
		for j < len(run) && run[j].class != 0 {
			j++
		}
		stableByClass(run[i:j])
		i = j
	}
}

// stableByClass is a counting sort: texts may hold very long runs of marks.
func stableByClass(marks []normRune) {
	if len(marks) < 2 {
		return
	}
	var at [257]int
	for _, c := range marks {
		at[int(c.class)+1]++
	}
	for k := 1; k < len(at); k++ {
		at[k] += at[k-1]
	}
	sorted := make([]normRune, len(marks))
	for _, c := range marks {
		sorted[at[c.class]] = c
		at[c.class]++
	}
	copy(marks, sorted)
}

// compose joins a starter with each following character that is not blocked from it.
func compose(run []normRune) []normRune {
	out := run[:0]
	starter := -1 // in out
	last := uint8(0)
	for _, c := range run {
		if starter >= 0 {
			adjacent := starter == len(out)-1
			if adjacent || last < c.class {
				if r, ok := pairs().join(out[starter].r, c.r); ok {
					out[starter].r = r
					out[starter].from, out[starter].to = min(out[starter].from, c.from), max(out[starter].to, c.to)
					continue
				}
			}
		}
		if c.class == 0 {
			starter = len(out)
		}
		last = c.class
		out = append(out, c)
	}
	return out
}

// compositions are the canonical pairs.
type compositions struct {
	of     map[[2]rune]rune
	second map[rune]bool // starters that are the second of a pair
}

const (
	hangulL, hangulV, hangulT, hangulS = 0x1100, 0x1161, 0x11a7, 0xac00
	nL, nV, nT                         = 19, 21, 28
)

func (p *compositions) join(a, b rune) (rune, bool) {
	if a >= hangulL && a < hangulL+nL && b >= hangulV && b < hangulV+nV {
		return hangulS + ((a-hangulL)*nV+(b-hangulV))*nT, true
	}
	if a >= hangulS && a < hangulS+nL*nV*nT && (a-hangulS)%nT == 0 && b > hangulT && b < hangulT+nT {
		return a + b - hangulT, true
	}
	r, ok := p.of[[2]rune{a, b}]
	return r, ok
}

// joinsBackward reports that a starter may compose with what stands before it.
func joinsBackward(r rune) bool {
	return r >= 0x300 && (r >= hangulV && r < hangulV+nV || r > hangulT && r < hangulT+nT || pairs().second[r])
}

// pairs finds the pairs: a character that keeps itself under NFC and decomposes into c1..cn is the pair of what
// c1..cn-1 compose to, and cn.
var pairs = sync.OnceValue(func() *compositions {
	p := &compositions{of: map[[2]rune]rune{}, second: map[rune]bool{}}
	for r := rune(0xa0); r < 0x30000; r++ {
		if r >= hangulS && r < hangulS+nL*nV*nT || unicode.Is(inert, r) {
			continue
		}
		d := norm.NFD.PropertiesString(string(r)).Decomposition()
		if len(d) == 0 || !norm.NFC.IsNormalString(string(r)) {
			continue
		}
		b, n := utf8.DecodeLastRune(d)
		a := []rune(norm.NFC.String(string(d[:len(d)-n])))
		if len(a) != 1 {
			continue
		}
		p.of[[2]rune{a[0], b}] = r
		if combiningClass(b) == 0 {
			p.second[b] = true
		}
	}
	return p
})
