package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// unigram is a language model of pieces (arXiv 1804.10959): a word becomes those pieces of it whose scores, logarithms
// of probabilities, have the greatest sum. Among equals the one found first stays, in the order of the library.
type unigram struct {
	vocab    map[string]int32
	count    int // of the file's entries
	scores   []float64
	pieces   *trie
	unk      int32
	unkScore float64    // of a character that is no piece
	byteID   [256]int32 // of byte_fallback; -1: none
	fallback bool
}

// unkPenalty is how far an unknown character lies below the lowest score.
const unkPenalty = 10

// ending is the best way to the place where a piece ends.
type ending struct {
	score float64
	id    int32
	bytes int32 // of the piece; 0: no piece ends here
}

// maxTangled bounds the table of a stretch of text that pieces overlap in all the way, as a long run of one character
// may be. Text in words has a place that no piece crosses every few bytes.
const maxTangled = 1 << 24

// unigramPass is the state of encoding one word.
type unigramPass struct {
	m        *unigram
	w        string
	base     int // every way leads through this place, before which all is written
	best     []ending
	back     []ending // the way back from an end
	from, to int      // unknown characters that are not written yet
	out      *tokens
}

// encodeWord goes through the word once. Where no piece crosses a place, what lies before it is decided and written,
// and the table starts again there with the sum so far, so that sums round as they do in one table.
func (m *unigram) encodeWord(w string, c *wordCache, out *tokens) error {
	p := &unigramPass{m: m, w: w, best: append(c.best[:0], ending{}), back: c.back, out: out}
	reach := 0
	for i, n := 0, 0; i < len(w); i += n {
		if i == reach {
			p.write(i)
		}
		if i-p.base > maxTangled {
			return fmt.Errorf("%d bytes of text without a place that no piece crosses", i-p.base)
		}
		_, n = utf8.DecodeRuneInString(w[i:])
		known := false // whether the character is a piece
		for node, j := int32(0), i; j < len(w); {
			if node = m.pieces.next(node, w[j]); node < 0 {
				break
			}
			j++
			if id := m.pieces.id[node]; id >= 0 {
				p.offer(i, j, id, m.scores[id])
				known = known || j == i+n
				reach = max(reach, j)
			}
		}
		if !known {
			p.offer(i, i+n, m.unk, m.unkScore)
			reach = max(reach, i+n)
		}
	}
	p.write(len(w))
	p.flush()
	if c.best, c.back = p.best[:0], p.back[:0]; cap(c.best) > maxCachedTokens { // such large tables are not kept
		c.best, c.back = nil, nil
	}
	return nil
}

// offer takes a piece from i to j where that is the best way to j so far.
func (p *unigramPass) offer(i, j int, id int32, score float64) {
	sum := score + p.best[i-p.base].score
	for len(p.best) <= j-p.base {
		p.best = append(p.best, ending{})
	}
	if e := &p.best[j-p.base]; e.bytes == 0 || sum > e.score {
		*e = ending{sum, id, int32(j - i)}
	}
}

// write adds the tokens of the best way to a place, and goes on from there.
func (p *unigramPass) write(end int) {
	p.back = p.back[:0]
	for i := end; i > p.base; i -= int(p.best[i-p.base].bytes) {
		p.back = append(p.back, p.best[i-p.base])
	}
	for _, e := range slices.Backward(p.back) {
		at := p.base
		p.base += int(e.bytes)
		if e.id == p.m.unk {
			if p.from == p.to {
				p.from = at
			}
			p.to = p.base
			continue
		}
		p.flush()
		p.out.add([]int32{e.id}, []int32{e.bytes})
	}
	p.best = append(p.best[:0], ending{score: p.best[len(p.best)-1].score})
}

// flush adds neighbouring unknown characters as one token, or as their bytes.
func (p *unigramPass) flush() {
	s := p.w[p.from:p.to]
	p.from = p.to
	if s == "" {
		return
	}
	id, ok := p.m.vocab[s]
	if !ok && p.m.fallback && hasBytes(&p.m.byteID, s) {
		for i := range len(s) {
			p.out.add([]int32{p.m.byteID[s[i]]}, []int32{1})
		}
		return
	}
	if !ok {
		id = p.m.unk
	}
	p.out.add([]int32{id}, []int32{int32(len(s))})
}

func (m *unigram) id(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *unigram) size() int { return m.count }

// scoredPieces is the vocabulary of a Unigram tokenizer.json: [["▁the", -3.5], …], by id.
type scoredPieces []scoredPiece

type scoredPiece struct {
	text  string
	score float64
}

// UnmarshalJSON reads one pair after the other, so that a list that is none takes no more memory than its text.
func (ps *scoredPieces) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return fmt.Errorf("model.vocab: %.40s is no list of pairs of a text and a score", b)
	}
	for i := 0; d.More(); i++ {
		if i > maxID {
			return fmt.Errorf("model.vocab has more than %d entries", maxID)
		}
		var pair [3]json.RawMessage // of a longer list the rest is not kept
		var p scoredPiece
		if d.Decode(&pair) != nil || null(pair[0]) || null(pair[1]) || pair[2] != nil ||
			json.Unmarshal(pair[0], &p.text) != nil || json.Unmarshal(pair[1], &p.score) != nil {
			return fmt.Errorf("model.vocab[%d] is no pair of a text and a score", i)
		}
		*ps = append(*ps, p)
	}
	return nil
}

// maxPiece bounds the work at each place of a text, which is as much as a piece has bytes. Those of known models have
// at most a few hundred.
const maxPiece = 1024

func checkPiece(id int, text string) error {
	if len(text) > maxPiece {
		return fmt.Errorf("piece %d has %d bytes; at most %d are looked for", id, len(text), maxPiece)
	}
	return nil
}

// unigram builds the model of a tokenizer.json.
func (f *file) unigram() (m *unigram, err error) {
	s := &f.Model
	if s.UnkID == nil || *s.UnkID < 0 || *s.UnkID >= len(s.pieces) {
		return nil, fmt.Errorf("model.unk_id does not name one of the %d entries of model.vocab", len(s.pieces))
	}
	m = &unigram{vocab: make(map[string]int32, len(s.pieces)), count: len(s.pieces), unk: int32(*s.UnkID),
		fallback: s.ByteFallback}
	lowest := math.Inf(1)
	for id, p := range s.pieces {
		if err := checkPiece(id, p.text); err != nil {
			return nil, err
		}
		m.vocab[p.text] = int32(id) // of two that are the same the last one counts
		m.scores = append(m.scores, p.score)
		lowest = min(lowest, p.score)
	}
	m.unkScore = lowest - unkPenalty
	for b := range m.byteID {
		id, ok := m.vocab[byteToken(b)]
		if !ok {
			id = -1
		}
		m.byteID[b] = id
	}
	m.pieces, err = newTrie(m.vocab)
	return m, err
}

// unigram builds the model of a sentencepiece file, of which only normal pieces are looked for in a text. b has what is
// read in the same way for merges.
func (m *spModel) unigram(b *bpe) (u *unigram, err error) {
	u = &unigram{vocab: b.vocab, count: len(m.pieces), unk: b.unk, byteID: b.byteID, fallback: m.byteFallback}
	lowest, normal := math.Inf(1), make(map[string]int32, len(m.pieces))
	for id, p := range m.pieces {
		u.scores = append(u.scores, float64(p.score))
		if err := checkPiece(id, p.text); err != nil {
			return nil, err
		}
		if p.kind == normalPiece {
			normal[p.text] = int32(id)
			lowest = min(lowest, float64(p.score))
		}
	}
	u.unkScore = lowest - unkPenalty
	u.pieces, err = newTrie(normal)
	return u, err
}
