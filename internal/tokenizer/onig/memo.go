package onig

// state is a split at a place in the text. What follows from it depends on nothing else, so that a state which failed
// once fails always.
type state struct{ id, pos int32 }

type fate uint8

const (
	unknown fate = iota
	fails
	matches // of a program that looks ahead or behind
)

// memo remembers the fate of states, in pages of 1024 places.
type memo struct {
	pages map[uint64]*[256]byte
	far   int // the last place that something is known of
}

// maxPages bounds a memo to some 80 MB; a full one starts afresh.
const maxPages = 1 << 18

func (m *memo) get(s state) fate {
	p := m.pages[uint64(s.id)<<32|uint64(s.pos>>10)]
	if p == nil {
		return unknown
	}
	return fate(p[s.pos>>2&255]>>(s.pos&3*2)) & 3
}

func (m *memo) put(s state, f fate) {
	key := uint64(s.id)<<32 | uint64(s.pos>>10)
	p := m.pages[key]
	if p == nil {
		if len(m.pages) == maxPages {
			clear(m.pages)
		}
		p = new([256]byte)
		m.pages[key] = p
	}
	m.far = max(m.far, int(s.pos))
	p[s.pos>>2&255] |= byte(f) << (s.pos & 3 * 2)
}

// enter is what is known of a split at a place. Where nothing is, it is on the way from here on.
func (m *matcher) enter(id, pos int) fate {
	if m.memo == nil {
		if m.begun-m.left < longTry {
			return unknown
		}
		m.memo = &memo{pages: map[uint64]*[256]byte{}}
	}
	s := state{int32(id), int32(pos)}
	if f := m.memo.get(s); f != unknown {
		return f
	}
	m.trail = append(m.trail, s)
	return unknown
}

// exhaust takes the way back to its first n splits: those behind them have failed.
func (m *matcher) exhaust(n int) {
	if m.memo != nil {
		for _, s := range m.trail[min(n, len(m.trail)):] {
			m.memo.put(s, fails)
		}
	}
	m.trail = m.trail[:min(n, len(m.trail))]
}
