package onig

import (
	"errors"
	"fmt"
)

// class reads a set in brackets: characters, ranges, classes, sets inside, and && between what must both hold.
func (p *parser) class() (*set, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d sets inside each other", maxDepth)
	}
	defer func() { p.depth-- }()
	p.at++
	not := p.more() && p.in[p.at] == '^'
	if not {
		p.at++
	}
	if p.fold && not {
		return nil, errors.New("a negated set without regard to case is not supported")
	}
	if p.more() && p.in[p.at] == ']' {
		return nil, errors.New("a set that begins with ] is not supported")
	}
	var both *set // what stands before a &&
	var now []span
	with := func() *set {
		if both == nil {
			return newSet(now)
		}
		return intersection(both, newSet(now))
	}
	for p.more() {
		switch {
		case p.in[p.at] == ']':
			p.at++
			if not {
				return complement(with()), nil
			}
			return with(), nil
		case p.ahead("&&"):
			p.at += 2
			both, now = with(), nil
		default:
			s, err := p.member()
			if err != nil {
				return nil, err
			}
			now = append(now, s.spans...)
		}
	}
	return nil, errors.New("a ] is missing")
}

// member reads a character, a range or a class of a set.
func (p *parser) member() (*set, error) {
	if p.ahead("[:") {
		return nil, errors.New(`[: in a set is not supported; write \p{}`)
	}
	if p.in[p.at] == '[' {
		return p.class()
	}
	start := p.at
	lo, one, err := p.char()
	if err != nil {
		return nil, err
	}
	if start+1 < len(p.in) && p.in[start] == '-' && p.in[start+1] == '-' {
		return nil, errors.New("-- in a set is not supported")
	}
	if !p.more() || p.in[p.at] != '-' || p.at+1 >= len(p.in) || p.in[p.at+1] == ']' {
		return lo, nil
	}
	if !one || p.in[start] == '-' {
		return nil, errors.New("a range that begins with a class or a - is not supported")
	}
	p.at++
	if p.in[p.at] == '[' || p.ahead("&&") {
		return nil, errors.New("a range that ends with a set is not supported")
	}
	hi, one, err := p.char()
	if err != nil {
		return nil, err
	}
	if !one {
		return nil, errors.New("a range that ends with a class is not supported")
	}
	if p.fold {
		return nil, errors.New("a range without regard to case is not supported")
	}
	a, b := lo.spans[0].lo, hi.spans[0].lo
	if a > b {
		return nil, fmt.Errorf("the range %c-%c is empty", a, b)
	}
	return newSet([]span{{a, b}}), nil
}

// char reads a character of a set, or what a backslash begins.
func (p *parser) char() (s *set, one bool, err error) {
	c := p.in[p.at]
	if c == '\\' {
		if p.fold {
			return nil, false, errors.New(`\ in a set without regard to case is not supported`)
		}
		return p.class1()
	}
	p.at++
	if !p.fold {
		return newSet([]span{{c, c}}), true, nil
	}
	if c > 0x7f {
		return nil, false, fmt.Errorf("%q without regard to case is not supported", c)
	}
	if isLetter(c) {
		return folded(c), true, nil
	}
	return newSet([]span{{c, c}}), true, nil
}
