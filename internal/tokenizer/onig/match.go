package onig

import "unicode/utf8"

const (
	stepsFrom    = 1 << 26 // of a text of any length, well under a second
	stepsPerByte = 256
	maxFrames    = 1 << 22 // choices kept at once, 80 MB
	maxText      = 1<<31 - 1
	// An attempt that has taken longTry steps remembers from there on where it failed.
	longTry  = 1024
	shortTry = 64
)

// frame is a choice that is still open. Of a split it is where to go on; end is -1. Of a loop, pc is the loop itself
// and pos where it ended last: a greedy one may go back to lo, a lazy one forward to end.
type frame struct {
	pc, pos, lo, end int32
	trail            int32 // length of the trail
}

// matcher is the state of going through one text.
type matcher struct {
	re    *Regexp
	s     string
	left  int // steps
	begun int // left when the attempt began
	stack []frame
	dead  []region // by loop: what is behind it fails wherever it ends in there
	memo  *memo    // nil while attempts are short
	trail []state  // the splits on the way to here, with memo
}

// region is a stretch of characters of a loop's set, up to where these end.
type region struct{ lo, hi int }

// search finds the leftmost match from a place on, -1 for none.
func (m *matcher) search(from int) (i, j int, err error) {
	if len(m.s) > maxText {
		return 0, 0, ErrWork
	}
	if m.dead == nil {
		m.dead = make([]region, m.re.loops)
		for k := range m.dead {
			m.dead[k] = region{-1, -1}
		}
	}
	for i := from; i <= len(m.s); {
		if starts := m.re.starts; starts != nil {
			for i < len(m.s) && starts.next(m.s, i) == 0 {
				i += width(m.s, i)
			}
			if i == len(m.s) {
				return -1, -1, nil
			}
		}
		m.begun, m.stack, m.trail = m.left, m.stack[:0], m.trail[:0]
		j, err := m.run(0, i, false)
		if err != nil {
			return 0, 0, err
		}
		if j >= 0 {
			if m.memo != nil && m.begun-m.left < shortTry && j > m.memo.far {
				m.memo = nil
			}
			return i, j, nil
		}
		i += width(m.s, i)
	}
	return -1, -1, nil
}

// width is the length of the character at i, at least 1.
func width(s string, i int) int {
	if i >= len(s) || s[i] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return n
}

// back is the length of the character before i.
func back(s string, i int) int {
	_, n := utf8.DecodeLastRuneInString(s[:i])
	return n
}

// run is the end of the program's first match at pos, -1 for none. look says that only whether there is one counts.
func (m *matcher) run(pc, pos int, look bool) (end int, err error) {
	base, trail := len(m.stack), len(m.trail)
	for {
		if m.left--; m.left < 0 {
			return 0, ErrWork
		}
		ok := true
		switch in := &m.re.prog[pc]; in.op {
		case opSet:
			n := in.set.next(m.s, pos)
			ok = n > 0
			pos += n
			pc++
		case opJump:
			pc = in.x
		case opSplit:
			if known := m.enter(in.id, pos); known != unknown {
				if ok = known == matches; ok {
					m.keep(base, trail, look)
					return pos, nil
				}
				break
			}
			if err := m.push(frame{pc: int32(in.y), pos: int32(pos), end: -1}); err != nil {
				return 0, err
			}
			pc = in.x
		case opLoop:
			if pos, err = m.loop(pc, in, pos); err != nil {
				return 0, err
			}
			ok = pos >= 0
			pc++
		case opAssert:
			ok = m.holds(in.assert, pos)
			pc++
		case opAtomic:
			if pos, err = m.run(pc+1, pos, false); err != nil {
				return 0, err
			}
			ok = pos >= 0
			pc = in.y
		case opLook:
			found, err := m.look(in, pos)
			if err != nil {
				return 0, err
			}
			ok = found != in.not
			pc = in.y
		case opEnd:
			m.keep(base, trail, look)
			return pos, nil
		}
		if ok {
			continue
		}
		if pc, pos = m.fail(base); pc < 0 {
			m.exhaust(trail)
			return -1, nil
		}
	}
}

func (m *matcher) push(f frame) error {
	if len(m.stack) == maxFrames {
		return ErrWork
	}
	f.trail = int32(len(m.trail))
	m.stack = append(m.stack, f)
	return nil
}

// keep ends a program that matched: its open choices are given up.
func (m *matcher) keep(base, trail int, look bool) {
	m.stack = m.stack[:base]
	if m.memo != nil && look {
		for _, s := range m.trail[trail:] {
			m.memo.put(s, matches)
		}
	}
	m.trail = m.trail[:trail]
}

// fail takes up the last choice that is open; pc is -1 where none is above base.
func (m *matcher) fail(base int) (pc, pos int) {
	for len(m.stack) > base {
		f := &m.stack[len(m.stack)-1]
		m.exhaust(int(f.trail))
		in := &m.re.prog[f.pc]
		if in.op != opLoop || f.end < 0 { // of a split
			m.stack = m.stack[:len(m.stack)-1]
			return int(f.pc), int(f.pos)
		}
		if in.how == greedy && f.pos > f.lo {
			f.pos -= int32(back(m.s, int(f.pos)))
			return int(f.pc) + 1, int(f.pos)
		}
		if in.how == lazy && m.further(in, f) {
			return int(f.pc) + 1, int(f.pos)
		}
		if in.max < 0 {
			m.dead[in.id] = region{int(f.lo), int(f.end)}
		}
		m.stack = m.stack[:len(m.stack)-1]
	}
	return -1, 0
}

// further takes one more character into a lazy loop. Where there is none, or all that is ahead is known to fail, end
// becomes the end of what fails.
func (m *matcher) further(in *inst, f *frame) bool {
	n := in.set.next(m.s, int(f.pos))
	d := m.dead[in.id]
	switch {
	case n == 0 || f.pos == f.end:
		f.end = f.pos
		return false
	case int(f.pos)+n == d.lo:
		f.end = int32(d.hi)
		return false
	}
	f.pos += int32(n)
	return true
}

// loop takes up the characters of a loop and is where it ends first, -1 where it cannot.
func (m *matcher) loop(pc int, in *inst, pos int) (int, error) {
	for range in.min {
		n := in.set.next(m.s, pos)
		if n == 0 {
			return -1, nil
		}
		pos += n
	}
	f := frame{pc: int32(pc), lo: int32(pos)}
	if in.max >= 0 {
		end := pos
		for range in.max - in.min {
			n := in.set.next(m.s, end)
			if n == 0 {
				break
			}
			end += n
		}
		m.left -= in.max
		if f.end = int32(end); in.how != lazy {
			pos = end
		}
		if in.how == possessive || end == int(f.lo) {
			return pos, nil
		}
		f.pos = int32(pos)
		return pos, m.push(f)
	}
	d := m.dead[in.id]
	if d.lo <= pos && pos <= d.hi {
		return -1, nil
	}
	if in.how == lazy {
		f.pos, f.end = int32(pos), maxText
		return pos, m.push(f)
	}
	end := pos
	for end != d.lo {
		n := in.set.next(m.s, end)
		if n == 0 {
			break
		}
		end += n
	}
	m.left -= end - pos
	f.pos, f.end = int32(end), int32(end)
	if end == d.lo { // from here on it is known to fail
		if in.how == possessive {
			m.dead[in.id] = region{pos, d.hi}
			return -1, nil
		}
		f.pos, f.end = int32(end-back(m.s, end)), int32(d.hi)
	}
	if f.end > f.lo {
		return int(f.pos), m.push(f)
	}
	return int(f.pos), nil
}

// holds says whether an assertion holds at a place.
func (m *matcher) holds(a assertion, pos int) bool {
	s := m.s
	switch a {
	case lineStart:
		return pos == 0 || s[pos-1] == '\n' && pos < len(s)
	case lineEnd:
		return pos == len(s) || s[pos] == '\n'
	case textStart:
		return pos == 0
	case textEnd:
		return pos == len(s)
	case textEndLine:
		return pos == len(s) || pos == len(s)-1 && s[pos] == '\n'
	}
	before := pos > 0 && wordSet().next(s, pos-back(s, pos)) > 0
	return (before != (wordSet().next(s, pos) > 0)) == (a == wordBorder)
}

// look says whether one of a look's programs matches at a place.
func (m *matcher) look(in *inst, pos int) (bool, error) {
	for _, arm := range in.looks {
		at, chars := pos, arm.chars
		for in.behind && chars > 0 && at > 0 {
			at -= back(m.s, at)
			chars--
		}
		if in.behind && chars > 0 {
			continue
		}
		if end, err := m.run(arm.pc, at, true); err != nil || end >= 0 {
			return end >= 0, err
		}
	}
	return false, nil
}
