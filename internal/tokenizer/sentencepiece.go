package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"longlora/internal/errs"
)

// pieceType is SentencePiece.Type of sentencepiece_model.proto.
type pieceType uint64

const (
	normalPiece pieceType = iota + 1
	unknownPiece
	controlPiece
	userPiece
	unusedPiece
	bytePiece
)

type spPiece struct {
	text  string
	score float32
	kind  pieceType
}

// spModel is what ModelProto of sentencepiece_model.proto says about encoding; defaults are the proto's.
type spModel struct {
	pieces       []spPiece
	modelType    uint64 // 1 unigram, 2 bpe, 3 word, 4 char
	unk          int32
	bos, eos     int32 // -1: none
	byteFallback bool
	suffixSpace  bool   // treat_whitespace_as_suffix
	rule         string // normalizer_spec.name
	charsMap     bool   // a precompiled normalization
	dummyPrefix  bool
	squeeze      bool // remove_extra_whitespaces
	escape       bool // escape_whitespaces
	denormalizes bool
}

// parseModel reads a sentencepiece model and gives it the meaning that transformers' LlamaTokenizer does: control
// pieces, user-defined ones and the unknown one are added tokens, parsed where they are written out; each stretch
// of text between them gets a dummy prefix (legacy), or only the beginning of the text does.
func parseModel(path string, blob []byte, cfg config) (*Tokenizer, error) {
	if looksLikeRanks(blob) {
		return nil, errs.Dataf("%s: a table of ranks (tiktoken), not a sentencepiece model; the tokenizer.json of the same "+
			"checkpoint is needed", path)
	}
	m, err := readModel(blob)
	if err != nil {
		return nil, errs.Dataf("%s: no sentencepiece model: %w", path, err)
	}
	t, err := m.build(cfg)
	if err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	t.path = path
	for i := range t.added {
		t.added[i].file = path
	}
	return t, nil
}

// looksLikeRanks tells Meta's LLaMA-3 tokenizer.model: lines of base64 and a number.
func looksLikeRanks(blob []byte) bool {
	line, _, _ := strings.Cut(string(blob[:min(len(blob), 100)]), "\n")
	_, rank, ok := strings.Cut(line, " ")
	return ok && rank != "" && strings.Trim(rank, "0123456789") == ""
}

func (m *spModel) check() error {
	kinds := map[uint64]string{3: "word", 4: "char"}
	switch {
	case m.modelType != 1 && m.modelType != 2:
		return fmt.Errorf("trainer_spec.model_type %s is not supported, only bpe and unigram", kinds[m.modelType])
	case m.charsMap:
		return fmt.Errorf("normalizer_spec: rule %q is not supported, only identity", m.rule)
	case m.rule != "" && m.rule != "identity":
		return fmt.Errorf("normalizer_spec: rule %q is not supported, only identity", m.rule)
	case m.denormalizes:
		return errors.New("denormalizer_spec is not supported")
	case m.suffixSpace:
		return errors.New("trainer_spec.treat_whitespace_as_suffix is not supported")
	case !m.escape:
		return errors.New("normalizer_spec.escape_whitespaces false is not supported")
	case len(m.pieces) == 0:
		return errors.New("no pieces")
	case len(m.pieces) > maxID:
		return fmt.Errorf("%d pieces", len(m.pieces))
	}
	for _, id := range []int32{m.unk, m.bos, m.eos} {
		if int(id) >= len(m.pieces) {
			return fmt.Errorf("trainer_spec: id %d is outside the %d pieces", id, len(m.pieces))
		}
	}
	return nil
}

func (m *spModel) build(cfg config) (*Tokenizer, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var err error
	t := &Tokenizer{eos: m.eos, longFrom: parallelFrom}
	b := &bpe{vocab: make(map[string]int32, len(m.pieces)), merges: map[uint64]merge{}, byteFallback: m.byteFallback,
		unk: -1, fuseUnk: true}
	var added []addedToken
	for id, p := range m.pieces {
		if p.text == "" || !utf8.ValidString(p.text) {
			return nil, fmt.Errorf("piece %d: %q is no text", id, p.text)
		}
		if old, ok := b.vocab[p.text]; ok {
			return nil, fmt.Errorf("pieces %d and %d are both %q", old, id, p.text)
		}
		b.vocab[p.text] = int32(id)
		t.put(int32(id), p.text)
		switch p.kind {
		case unknownPiece:
			b.unk = int32(id)
			added = append(added, addedToken{ID: int32(id), Content: p.text, Special: true})
		case controlPiece, userPiece:
			added = append(added, addedToken{ID: int32(id), Content: p.text, Special: p.kind == controlPiece})
		case normalPiece, bytePiece:
		default:
			return nil, fmt.Errorf("piece %d (%q): type %d is not supported", id, p.text, p.kind)
		}
	}
	if b.unk < 0 {
		return nil, errors.New("no unknown piece")
	}
	for i := range b.byteID {
		id, ok := b.vocab[byteToken(i)]
		if !ok || m.pieces[id].kind != bytePiece {
			if m.byteFallback {
				return nil, fmt.Errorf("trainer_spec.byte_fallback without a byte piece %s", byteToken(i))
			}
			id = -1
		}
		b.byteID[i] = id
	}
	if t.model, err = m.model(b); err != nil {
		return nil, err
	}
	m.spaces(t, cfg)
	if t.bos = m.bos; cfg.addBOS && m.bos >= 0 {
		t.prefix = []int32{m.bos}
	}
	if err := t.addTokens(added); err != nil {
		return nil, err
	}
	t.cuts = t.findCuts()
	return t, nil
}

// model is what turns words into tokens. b has the vocabulary.
func (m *spModel) model(b *bpe) (wordModel, error) {
	if m.modelType == 1 {
		return m.unigram(b)
	}
	left, right, err := m.merges(b)
	b.findJoins(left, right)
	return b, err
}

// spaces sets up how white space is written and read.
func (m *spModel) spaces(t *Tokenizer, cfg config) {
	if m.squeeze {
		t.normalizers = append(t.normalizers, squeeze)
	}
	prefix := m.dummyPrefix && cfg.addPrefix
	escape := replace(literal(" "), string(metaspace))
	switch {
	case prefix && cfg.legacy:
		t.normalizers = append(t.normalizers, prepend(string(metaspace)), escape)
	case prefix:
		lead := leadWith(string(metaspace))
		t.steps = []step{{rewrite: escape}, {rewrite: func(s text, track bool) (text, error) {
			if s.base != 0 {
				return s, nil
			}
			return lead(s, track)
		}}}
	default:
		t.normalizers = append(t.normalizers, escape)
	}
	unescape := each(func(s string) string { return strings.ReplaceAll(s, string(metaspace), " ") })
	t.decode = chain(unescape, always(joinBytes), always(fuse))
	if prefix {
		t.decode = chain(t.decode, each(func(s string) string { return strings.TrimPrefix(s, " ") }))
	}
}

// squeeze takes spaces off the ends, and ▁ off the right one, and makes one of each run of spaces.
func squeeze(t text, track bool) (text, error) {
	w := newRewriter(t, track)
	end := len(strings.TrimRight(t.s, " "+string(metaspace)))
	for i := 0; i < end; {
		j := i
		for t.s[j] == ' ' {
			j++
		}
		if i < j && i > 0 {
			w.put(" ", i, j)
		}
		i = j
		for j < end && t.s[j] != ' ' {
			j++
		}
		w.keep(i, j)
		i = j
	}
	return w.text()
}

// maxPieces bounds the sum of the squares of the pieces' lengths, which is the work of taking them apart. A vocabulary
// of a million pieces of the longest usual length, 16 letters of 4 bytes, has it.
const maxPieces = 1 << 32

// maxMerges bounds the ways to make pieces of two others; a vocabulary of 256,000 has some 600,000.
const maxMerges = 1 << 22

// merges fills b.merges: each normal piece may come of any two others that it is made of, the best scores first,
// the leftmost first among equals. It returns the two sides of each.
func (m *spModel) merges(b *bpe) (left, right []string, err error) {
	scores := make([]float32, 0, len(m.pieces))
	for _, p := range m.pieces {
		scores = append(scores, p.score)
	}
	slices.SortFunc(scores, func(x, y float32) int {
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	scores = slices.Compact(scores)
	work := 0
	rank := make(map[float32]int32, len(scores))
	for i, s := range scores {
		rank[s] = int32(i)
	}
	for id, p := range m.pieces {
		if p.kind != normalPiece {
			continue
		}
		if work += len(p.text) * len(p.text); work > maxPieces {
			return nil, nil, fmt.Errorf("piece %d has %d bytes; with those before it that is more than is split up", id,
				len(p.text))
		}
		for i := range p.text {
			if i == 0 {
				continue
			}
			x, okX := b.vocab[p.text[:i]]
			y, okY := b.vocab[p.text[i:]]
			if okX && okY && m.pieces[x].kind == normalPiece && m.pieces[y].kind == normalPiece {
				b.merges[pairKey(x, y)] = merge{rank[p.score], int32(id)}
				left, right = append(left, p.text[:i]), append(right, p.text[i:])
				if len(left) > maxMerges {
					return nil, nil, fmt.Errorf("its pieces can be made in more than %d ways", maxMerges)
				}
			}
		}
	}
	return left, right, nil
}

var errTruncated = errors.New("the file ends within a field")

// fields calls f with each field of a protobuf message: number, wire type, and its value as a number or bytes.
func fields(b []byte, f func(number, wire int, v uint64, data []byte) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return errTruncated
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch key & 7 {
		case 0:
			if v, n = binary.Uvarint(b); n <= 0 {
				return errTruncated
			}
			b = b[n:]
		case 1:
			if len(b) < 8 {
				return errTruncated
			}
			v, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			l, n := binary.Uvarint(b)
			if n <= 0 || l > uint64(len(b)-n) {
				return errTruncated
			}
			data, b = b[n:n+int(l)], b[n+int(l):]
		case 5:
			if len(b) < 4 {
				return errTruncated
			}
			v, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			return fmt.Errorf("field %d has wire type %d", key>>3, key&7)
		}
		if err := f(int(key>>3), int(key&7), v, data); err != nil {
			return err
		}
	}
	return nil
}

// readModel reads a ModelProto: pieces 1, trainer_spec 2, normalizer_spec 3, denormalizer_spec 5.
func readModel(blob []byte) (*spModel, error) {
	m := &spModel{modelType: 1, bos: 1, eos: 2, dummyPrefix: true, squeeze: true, escape: true}
	err := fields(blob, func(number, wire int, _ uint64, data []byte) error {
		if wire != 2 {
			return nil
		}
		switch number {
		case 1:
			p := spPiece{kind: normalPiece}
			err := fields(data, func(number, _ int, v uint64, data []byte) error {
				switch number {
				case 1:
					p.text = string(data)
				case 2:
					p.score = math.Float32frombits(uint32(v))
				case 3:
					p.kind = pieceType(v)
				}
				return nil
			})
			if err == nil && p.score != p.score {
				err = fmt.Errorf("piece %d: its score is no number", len(m.pieces))
			}
			m.pieces = append(m.pieces, p)
			return err
		case 2:
			return fields(data, func(number, _ int, v uint64, _ []byte) error {
				switch number {
				case 3:
					m.modelType = v
				case 24:
					m.suffixSpace = v != 0
				case 35:
					m.byteFallback = v != 0
				case 40:
					m.unk = int32(v)
				case 41:
					m.bos = int32(v)
				case 42:
					m.eos = int32(v)
				}
				return nil
			})
		case 3:
			return fields(data, func(number, _ int, v uint64, data []byte) error {
				switch number {
				case 1:
					m.rule = string(data)
				case 2:
					m.charsMap = len(data) > 0
				case 3:
					m.dummyPrefix = v != 0
				case 4:
					m.squeeze = v != 0
				case 5:
					m.escape = v != 0
				}
				return nil
			})
		case 5:
			return fields(data, func(number, _ int, _ uint64, data []byte) error {
				if number == 2 && len(data) > 0 {
					m.denormalizes = true
				}
				return nil
			})
		}
		return nil
	})
	return m, err
}
