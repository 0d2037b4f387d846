package onig

import "fmt"

type opcode uint8

const (
	opSet    opcode = iota // one character of set
	opSplit                // go on at x, and where that fails at y
	opJump                 // go on at x
	opLoop                 // characters of set, from min to max of them
	opAssert               // nothing, at a place
	opAtomic               // what the program behind it matches first; go on at y
	opLook                 // nothing, where the programs behind it match or do not; go on at y
	opEnd                  // a match of the program
)

type inst struct {
	op       opcode
	how      repetition
	not      bool
	behind   bool
	assert   assertion
	set      *set
	x, y     int
	min, max int   // max -1: no limit
	id       int   // of a split among splits, of a loop among loops
	looks    []arm // of opLook
}

// arm is a program that looks ahead, or one that looks as many characters behind.
type arm struct{ pc, chars int }

type compiler struct {
	re  *Regexp
	big bool
}

func compile(n *node) (*Regexp, error) {
	c := compiler{re: &Regexp{}}
	c.emit(n)
	c.add(inst{op: opEnd})
	if c.big {
		return nil, fmt.Errorf("more than %d steps long when its counts are written out", maxSize)
	}
	if s, empty := first(n); !empty {
		c.re.starts = s
	}
	return c.re, nil
}

func (c *compiler) add(in inst) int {
	if len(c.re.prog) >= maxSize {
		c.big = true
		return 0
	}
	switch in.op {
	case opSplit:
		in.id = c.re.splits
		c.re.splits++
	case opLoop:
		in.id = c.re.loops
		c.re.loops++
	}
	c.re.prog = append(c.re.prog, in)
	return len(c.re.prog) - 1
}

func (c *compiler) here() int { return len(c.re.prog) }

// emit writes what matches a node and then goes on behind itself.
func (c *compiler) emit(n *node) {
	if c.big {
		return
	}
	switch n.kind {
	case nodeSet:
		c.add(inst{op: opSet, set: n.set})
	case nodeCat:
		for _, sub := range n.subs {
			c.emit(sub)
		}
	case nodeAlt:
		c.alternatives(n.subs)
	case nodeRepeat:
		c.repeat(n)
	case nodeAtomic:
		if sub := bare(n.subs[0]); sub.kind == nodeRepeat && sub.how == greedy && bare(sub.subs[0]).kind == nodeSet {
			again := *sub
			again.how = possessive
			c.emit(&again)
			break
		}
		c.atomic(n.subs[0])
	case nodeLook:
		c.look(n)
	case nodeAssert:
		c.add(inst{op: opAssert, assert: n.assert})
	}
}

func (c *compiler) alternatives(subs []*node) {
	var ends []int
	for _, sub := range subs[:len(subs)-1] {
		split := c.add(inst{op: opSplit})
		c.re.prog[split].x = c.here()
		c.emit(sub)
		ends = append(ends, c.add(inst{op: opJump}))
		c.re.prog[split].y = c.here()
	}
	c.emit(subs[len(subs)-1])
	for _, e := range ends {
		c.re.prog[e].x = c.here()
	}
}

func (c *compiler) repeat(n *node) {
	sub := bare(n.subs[0])
	switch {
	case sub.kind == nodeSet:
		c.add(inst{op: opLoop, set: sub.set, min: n.min, max: n.max, how: n.how})
	case n.how == possessive:
		again := *n
		again.how = greedy
		c.atomic(&again)
	default:
		c.copies(sub, n)
	}
}

// copies writes out a repeated group: as often as it must, then as often as it may.
func (c *compiler) copies(sub *node, n *node) {
	for range n.min {
		c.emit(sub)
	}
	choice := func() int { return c.add(inst{op: opSplit}) }
	set := func(split, exit int) { // which way first
		in := &c.re.prog[split]
		if in.x, in.y = split+1, exit; n.how == lazy {
			in.x, in.y = in.y, in.x
		}
	}
	if n.max < 0 {
		split := choice()
		c.emit(sub)
		c.add(inst{op: opJump, x: split})
		set(split, c.here())
		return
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, choice())
		c.emit(sub)
		if c.big {
			return
		}
	}
	for _, s := range splits {
		set(s, c.here())
	}
}

func (c *compiler) atomic(sub *node) {
	at := c.add(inst{op: opAtomic})
	c.emit(sub)
	c.add(inst{op: opEnd})
	c.re.prog[at].y = c.here()
}

func (c *compiler) look(n *node) {
	at := c.add(inst{op: opLook, not: n.not, behind: n.behind})
	var arms []arm
	subs := n.subs
	if n.behind {
		subs = alternativesOf(n.subs[0])
	}
	for _, sub := range subs {
		chars, _ := length(sub)
		arms = append(arms, arm{c.here(), chars})
		c.emit(sub)
		c.add(inst{op: opEnd})
	}
	c.re.prog[at].looks, c.re.prog[at].y = arms, c.here()
}

// bare is a node without groups that hold it alone.
func bare(n *node) *node {
	for n.kind == nodeCat && len(n.subs) == 1 {
		n = n.subs[0]
	}
	return n
}

// alternativesOf are the choices at a node's top.
func alternativesOf(n *node) []*node {
	if n = bare(n); n.kind == nodeAlt {
		return n.subs
	}
	return []*node{n}
}

// onlyAsserts says whether a node says something of a place and takes up nothing.
func onlyAsserts(n *node) bool {
	for _, sub := range n.subs {
		if n.kind != nodeLook && !onlyAsserts(sub) {
			return false
		}
	}
	return n.kind != nodeSet && (len(n.subs) > 0 || n.kind == nodeAssert)
}

// nullable says whether a node can match nothing.
func nullable(n *node) bool {
	switch n.kind {
	case nodeSet:
		return false
	case nodeCat, nodeAtomic:
		for _, sub := range n.subs {
			if !nullable(sub) {
				return false
			}
		}
	case nodeAlt:
		for _, sub := range n.subs {
			if nullable(sub) {
				return true
			}
		}
		return false
	case nodeRepeat:
		return n.min == 0 || nullable(n.subs[0])
	}
	return true
}

// length is how many characters a node matches, where that is fixed.
func length(n *node) (chars int, fixed bool) {
	switch n.kind {
	case nodeSet:
		return 1, true
	case nodeCat, nodeAtomic:
		for _, sub := range n.subs {
			k, ok := length(sub)
			if !ok {
				return 0, false
			}
			chars += k
		}
	case nodeAlt:
		for i, sub := range n.subs {
			k, ok := length(sub)
			if !ok || i > 0 && k != chars {
				return 0, false
			}
			chars = k
		}
	case nodeRepeat:
		k, ok := length(n.subs[0])
		return k * n.min, ok && n.min == n.max
	}
	return chars, true
}

// first is a set that holds every character a match may begin with; empty says that a match may also hold none.
func first(n *node) (s *set, empty bool) {
	s = newSet(nil)
	switch n.kind {
	case nodeSet:
		return n.set, false
	case nodeCat, nodeAtomic:
		for _, sub := range n.subs {
			a, more := first(sub)
			if s = union(s, a); !more {
				return s, false
			}
		}
		return s, true
	case nodeAlt:
		for _, sub := range n.subs {
			a, more := first(sub)
			s, empty = union(s, a), empty || more
		}
		return s, empty
	case nodeRepeat:
		a, more := first(n.subs[0])
		return a, more || n.min == 0
	}
	return s, true
}
