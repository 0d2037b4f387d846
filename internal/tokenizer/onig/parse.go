package onig

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	nodeSet    kind = iota // one character of set
	nodeCat                // subs one after another
	nodeAlt                // one of subs, the first that leads to a match
	nodeRepeat             // subs[0] from min to max times
	nodeAtomic             // subs[0], whose first match counts and no other
	nodeLook               // subs[0] matches ahead of here, or behind, or does not (not)
	nodeAssert
)

// A place that matches nothing.
type assertion uint8

const (
	lineStart    assertion = iota // ^
	lineEnd                       // $
	textStart                     // \A
	textEnd                       // \z
	textEndLine                   // \Z: or before a newline that ends the text
	wordBorder                    // \b
	noWordBorder                  // \B
)

type node struct {
	kind     kind
	set      *set
	subs     []*node
	min, max int // max -1: no limit
	how      repetition
	behind   bool
	not      bool
	assert   assertion
}

type repetition uint8

const (
	greedy repetition = iota
	lazy
	possessive
)

// Limits that real expressions stay far from.
const (
	maxLength = 1 << 14 // of the expression
	maxCount  = 1000    // of a repetition
	maxDepth  = 100     // of groups and sets inside each other
	maxSize   = 1 << 12 // of the program
)

// parser reads an expression; what it is not sure to read as Oniguruma does is an error.
type parser struct {
	in    []rune
	at    int
	fold  bool // inside (?i: )
	depth int
}

func (p *parser) more() bool { return p.at < len(p.in) }

// ahead says whether the rest begins with s.
func (p *parser) ahead(s string) bool {
	return strings.HasPrefix(string(p.in[p.at:min(p.at+len(s), len(p.in))]), s)
}

func (p *parser) parse() (*node, error) {
	if len(p.in) > maxLength {
		return nil, fmt.Errorf("longer than %d characters", maxLength)
	}
	n, err := p.alternatives()
	if err == nil && p.more() {
		return nil, errors.New("a ) too many")
	}
	return n, err
}

// alternatives reads up to a ) or the end.
func (p *parser) alternatives() (*node, error) {
	alt := &node{kind: nodeAlt}
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		alt.subs = append(alt.subs, n)
		if !p.more() || p.in[p.at] != '|' {
			break
		}
		p.at++
	}
	if len(alt.subs) == 1 {
		return alt.subs[0], nil
	}
	return alt, nil
}

func (p *parser) sequence() (*node, error) {
	cat := &node{kind: nodeCat}
	for p.more() && p.in[p.at] != '|' && p.in[p.at] != ')' {
		n, err := p.atom()
		if err == nil {
			n, err = p.repeated(n)
		}
		if err != nil {
			return nil, err
		}
		cat.subs = append(cat.subs, n)
	}
	return cat, nil
}

func (p *parser) atom() (*node, error) {
	switch c := p.in[p.at]; c {
	case '(':
		return p.group()
	case '[':
		s, err := p.class()
		return &node{kind: nodeSet, set: s}, err
	case '\\':
		return p.escape()
	case '.':
		p.at++
		return &node{kind: nodeSet, set: complement(newline)}, nil
	case '^', '$':
		p.at++
		a := lineStart
		if c == '$' {
			a = lineEnd
		}
		return &node{kind: nodeAssert, assert: a}, nil
	case '*', '+', '?':
		return nil, fmt.Errorf("%c with nothing before it", c)
	default:
		if p.isCount() {
			return nil, errors.New("{ with nothing before it")
		}
		p.at++
		s, err := p.literal(c)
		return &node{kind: nodeSet, set: s}, err
	}
}

// literal is one character; without regard to case, k and s have a third form each. Pairs that a ligature folds to are
// refused, and so is all that is not ASCII.
func (p *parser) literal(c rune) (*set, error) {
	if !p.fold || c < utf8.RuneSelf && !isLetter(c) {
		return newSet([]span{{c, c}}), nil
	}
	if c >= utf8.RuneSelf {
		return nil, fmt.Errorf("%q without regard to case is not supported", c)
	}
	if p.at >= 2 && p.in[p.at-2] < utf8.RuneSelf {
		switch pair := strings.ToLower(string(p.in[p.at-2 : p.at])); pair {
		case "ff", "fi", "fl", "ss", "st":
			return nil, fmt.Errorf("%q without regard to case is not supported", pair)
		}
	}
	return folded(c), nil
}

func isLetter(c rune) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func folded(c rune) *set {
	low := unicode.ToLower(c)
	list := []span{{low, low}, {unicode.ToUpper(c), unicode.ToUpper(c)}}
	switch low {
	case 's':
		list = append(list, span{'\u017f', '\u017f'})
	case 'k':
		list = append(list, span{'\u212a', '\u212a'})
	}
	return newSet(list)
}

func (p *parser) group() (*node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d groups inside each other", maxDepth)
	}
	defer func() { p.depth-- }()
	n, fold := &node{kind: nodeCat}, p.fold
	defer func() { p.fold = fold }()
	switch {
	case p.ahead("(?:"):
		p.at += 3
	case p.ahead("(?i:"):
		p.at += 4
		p.fold = true
	case p.ahead("(?>"):
		p.at += 3
		n.kind = nodeAtomic
	case p.ahead("(?=") || p.ahead("(?!"):
		n.kind, n.not = nodeLook, p.in[p.at+2] == '!'
		p.at += 3
	case p.ahead("(?<=") || p.ahead("(?<!"):
		n.kind, n.behind, n.not = nodeLook, true, p.in[p.at+3] == '!'
		p.at += 4
	case p.ahead("(?") || p.ahead("(*"):
		return nil, fmt.Errorf("group %q is not supported", string(p.in[p.at:min(p.at+5, len(p.in))]))
	default:
		p.at++
	}
	sub, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if !p.more() {
		return nil, errors.New("a ) is missing")
	}
	p.at++
	n.subs = []*node{sub}
	if n.behind {
		for _, a := range alternativesOf(sub) {
			if _, ok := length(a); !ok {
				return nil, errors.New("a look behind whose alternatives have no fixed length is not supported")
			}
		}
	}
	return n, nil
}

// repeated reads what follows an atom: a repetition with its mark.
func (p *parser) repeated(n *node) (*node, error) {
	if !p.repeats() {
		return n, nil
	}
	r := &node{kind: nodeRepeat, subs: []*node{n}, max: -1}
	c := p.in[p.at]
	p.at++
	switch c {
	case '+':
		r.min = 1
	case '?':
		r.max = 1
	case '{':
		if r.min, r.max, _ = p.count(); r.min > maxCount || r.max > maxCount || r.max >= 0 && r.max < r.min || r.max == 0 {
			return nil, fmt.Errorf("a count of {%d,%d} is not supported", r.min, r.max)
		}
	}
	if p.more() {
		switch next := p.in[p.at]; {
		case next == '?' && c != '{':
			r.how = lazy
			p.at++
		case next == '+' && c != '{':
			r.how = possessive
			p.at++
		}
	}
	if p.repeats() {
		return nil, fmt.Errorf("%c behind a repetition is not supported", p.in[p.at])
	}
	switch {
	case onlyAsserts(n):
		return nil, errors.New("a repeated assertion is not supported")
	case r.max != 1 && nullable(n):
		return nil, errors.New("a repeated group that can match nothing is not supported")
	}
	return r, nil
}

// repeats says whether a repetition comes next.
func (p *parser) repeats() bool {
	return p.more() && (strings.ContainsRune("*+?", p.in[p.at]) || p.isCount())
}

// isCount says whether a count in braces comes next; any other brace is a character.
func (p *parser) isCount() bool {
	at := p.at
	defer func() { p.at = at }()
	if p.in[p.at] != '{' {
		return false
	}
	p.at++
	_, _, ok := p.count()
	return ok
}

// count reads n}, n,}, ,m} or n,m} behind its brace; hi is -1 where it is not said.
func (p *parser) count() (lo, hi int, ok bool) {
	number := func() (int, bool) {
		n, from := 0, p.at
		for p.more() && p.in[p.at] >= '0' && p.in[p.at] <= '9' {
			n = min(10*n+int(p.in[p.at]-'0'), maxCount+1)
			p.at++
		}
		return n, p.at > from
	}
	lo, ok = number()
	if hi = lo; p.more() && p.in[p.at] == ',' {
		p.at++
		more := false
		if hi, more = number(); !more {
			hi = -1
		}
		ok = ok || more
	}
	ok = ok && p.more() && p.in[p.at] == '}'
	p.at++
	return lo, hi, ok
}

// escape reads what a backslash begins, outside of a set.
func (p *parser) escape() (*node, error) {
	if p.at+1 < len(p.in) {
		for i, c := range "AzZbB" {
			if p.in[p.at+1] == c {
				p.at += 2
				return &node{kind: nodeAssert, assert: textStart + assertion(i)}, nil
			}
		}
	}
	s, _, err := p.class1()
	return &node{kind: nodeSet, set: s}, err
}

// class1 reads what a backslash begins as a set; one says that it is a single character.
func (p *parser) class1() (s *set, one bool, err error) {
	if p.at+1 >= len(p.in) {
		return nil, false, errors.New("a backslash at the end")
	}
	c := p.in[p.at+1]
	p.at += 2
	switch c {
	case 's':
		return spaceSet(), false, nil
	case 'S':
		return complement(spaceSet()), false, nil
	case 'd':
		return digitSet(), false, nil
	case 'D':
		return complement(digitSet()), false, nil
	case 'w':
		return wordSet(), false, nil
	case 'W':
		return complement(wordSet()), false, nil
	case 'p', 'P':
		s, err := p.property(c == 'P')
		return s, false, err
	case 'x', 'u':
		c, err = p.hex(c)
		if err != nil {
			return nil, false, err
		}
	case 'r', 'n', 't', 'f', 'v', 'a', 'e':
		c = map[rune]rune{'r': '\r', 'n': '\n', 't': '\t', 'f': '\f', 'v': '\v', 'a': '\a', 'e': 0x1b}[c]
	default:
		if c >= utf8.RuneSelf || isLetter(c) || c >= '0' && c <= '9' {
			return nil, false, fmt.Errorf(`\%c is not supported`, c)
		}
	}
	s, err = p.literal(c)
	return s, true, err
}

// property reads {name} or {^name}.
func (p *parser) property(not bool) (*set, error) {
	end := p.at
	for end < len(p.in) && p.in[end] != '}' {
		end++
	}
	if end >= len(p.in) || p.in[p.at] != '{' {
		return nil, errors.New(`\p without {}`)
	}
	name := string(p.in[p.at+1 : end])
	p.at = end + 1
	plain, hat := strings.CutPrefix(name, "^")
	s, ok := properties()[plainName(plain)]
	if !ok {
		return nil, fmt.Errorf(`\p{%s} is not supported`, name)
	}
	if not != hat {
		return complement(s), nil
	}
	return s, nil
}

// hex reads HH or {H...} behind \x, HHHH behind \u.
func (p *parser) hex(kind rune) (rune, error) {
	n, from := 4, p.at
	if kind == 'x' {
		n = 2
	}
	braces := kind == 'x' && p.more() && p.in[p.at] == '{'
	if braces {
		n, from = 8, from+1
	}
	to, v := from, rune(0)
	for to < len(p.in) && to-from < n {
		d := strings.IndexRune("0123456789abcdef", unicode.ToLower(p.in[to]))
		if d < 0 {
			break
		}
		v = v<<4 | rune(d)
		to++
	}
	p.at = to
	ok := !braces && to-from == n
	if braces && to > from && p.more() && p.in[p.at] == '}' {
		p.at++
		ok = true
	}
	if !ok || v < 0 || !utf8.ValidRune(v) || kind == 'x' && !braces && v >= utf8.RuneSelf {
		return 0, fmt.Errorf(`\%c is not supported but with the digits of a character`, kind)
	}
	return v, nil
}
