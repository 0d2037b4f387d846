package tokenizer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"longlora/internal/errs"
)

// inOneTable is the library's way through a word: one table for all of it.
func (m *unigram) inOneTable(w string) (ids []int32) {
	best := make([]ending, len(w)+1)
	for i, n := 0, 0; i < len(w); i += n {
		_, n = utf8.DecodeRuneInString(w[i:])
		offer := func(j int, id int32, score float64) {
			if e, sum := &best[j], score+best[i].score; e.bytes == 0 || sum > e.score {
				*e = ending{sum, id, int32(j - i)}
			}
		}
		known := false
		for j := i + 1; j <= len(w); j++ {
			if id, ok := m.vocab[w[i:j]]; ok {
				offer(j, id, m.scores[id])
				known = known || j == i+n
			}
		}
		if !known {
			offer(i+n, m.unk, m.unkScore)
		}
	}
	type piece struct {
		id       int32
		from, to int
	}
	var way []piece
	for i := len(w); i > 0; i -= int(best[i].bytes) {
		way = append(way, piece{best[i].id, i - int(best[i].bytes), i})
	}
	slices.Reverse(way)
	for i := 0; i < len(way); i++ {
		p := way[i]
		if p.id != m.unk {
			ids = append(ids, p.id)
			continue
		}
		for ; i+1 < len(way) && way[i+1].id == m.unk; i++ {
			p.to = way[i+1].to
		}
		switch id, ok := m.vocab[w[p.from:p.to]]; {
		case ok:
			ids = append(ids, id)
		case m.fallback:
			for _, b := range []byte(w[p.from:p.to]) {
				ids = append(ids, m.byteID[b])
			}
		default:
			ids = append(ids, m.unk)
		}
	}
	return ids
}

// scored is a tokenizer.json of pieces with scores.
func scored(t *testing.T, pieces []any, unk any, fallback bool) (*Tokenizer, error) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"model": map[string]any{"type": "Unigram", "vocab": pieces, "unk_id": unk, "byte_fallback": fallback}})
	if err != nil {
		t.Fatal(err)
	}
	return Load(writeFiles(t, map[string][]byte{"tokenizer.json": b}), nil)
}

// Pieces, each with a score of its last byte, and a text are as one table has them.
func FuzzUnigram(f *testing.F) {
	f.Add("a1 ab2 bc9 é3 <unk>1", "abcé<unk>x", true)
	f.Add("▁▁2 ▁0 a▁b5", "▁▁▁a▁b日本", false)
	f.Fuzz(func(t *testing.T, pieces, text string, fallback bool) {
		m := &unigram{vocab: map[string]int32{"<unk>": 0}, scores: []float64{0}, fallback: fallback}
		for _, s := range strings.Fields(ReplaceInvalid(pieces)) {
			s, by := s[:len(s)-1], s[len(s)-1]
			if !utf8.ValidString(s) {
				continue
			}
			m.vocab[s] = int32(len(m.scores))
			m.scores = append(m.scores, -float64(by%16)/4)
		}
		for b := range m.byteID {
			m.byteID[b] = int32(1000 + b)
		}
		var err error
		m.unkScore = slices.Min(m.scores) - unkPenalty
		if m.pieces, err = newTrie(m.vocab); err != nil {
			t.Skip(err)
		}
		delete(m.vocab, "") // which is no piece
		text = ReplaceInvalid(text)
		out := tokens{track: true}
		err = m.encodeWord(text, newWordCache(), &out)
		if want := m.inOneTable(text); err != nil || !slices.Equal(out.ids, want) {
			t.Fatalf("%q: %v, %v; in one table %v", text, out.ids, err, want)
		}
		all := 0
		for _, n := range out.lens {
			all += int(n)
		}
		if all != len(text) {
			t.Fatalf("%q: tokens of %d bytes", text, all)
		}
	})
}

// Written as far as it is decided, a text has the tokens of one table over all of it: with equal scores, with long runs of
// unknown characters and without, with bytes and without.
func TestUnigramDecidesAsOneTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const letters = "abcd é日"
	word := func(most int) string {
		var s strings.Builder
		for range 1 + rng.IntN(most) {
			r := []rune(letters)
			s.WriteRune(r[rng.IntN(len(r))])
		}
		return s.String()
	}
	for round := range 200 {
		pieces := []any{[]any{"<unk>", 0}}
		for range 1 + rng.IntN(12) {
			pieces = append(pieces, []any{word(4), -float64(rng.IntN(6)) / 2})
		}
		for b := range 256 {
			pieces = append(pieces, []any{byteToken(b), 0})
		}
		tk, err := scored(t, pieces, 0, round%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			text := word(60)
			got, err := tk.Encode(text)
			if want := tk.model.(*unigram).inOneTable(text); err != nil || !slices.Equal(got, want) {
				t.Fatalf("round %d, %q: %v, %v; in one table %v", round, text, got, err, want)
			}
			ids, spans, err := tk.EncodeSpans(text)
			if err != nil || !slices.Equal(ids, got) || spans[len(spans)-1].End != len(text) {
				t.Fatalf("round %d, %q: with spans %v of %v, %v", round, text, ids, spans, err)
			}
		}
	}
}

// A run that pieces overlap in all the way, and one that is unknown all the way, are encoded; a file that cannot be meant
// is refused by name.
func TestUnigramEdges(t *testing.T) {
	tk, err := scored(t, []any{[]any{"<unk>", 0}, []any{"a", -1}, []any{"aa", -1.5}}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"": "[]", "aaaaa": "[1 2 2]", "日本b": "[0]", "a日本aa": "[1 0 2]",
		strings.Repeat("a", 1<<18): fmt.Sprint(slices.Repeat([]int32{2}, 1<<17)), strings.Repeat("日", 1<<16): "[0]"} {
		if got, err := tk.Encode(text); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%.20q: %.60v, %v; want %.60s", text, got, err, want)
		}
	}
	unk := []any{"<unk>", 0}
	many := []any{unk}
	for i := range 20_000 {
		many = append(many, []any{fmt.Sprintf("%0900d", i), -1})
	}
	for _, c := range []struct {
		pieces []any
		unk    any
		say    string
	}{
		{[]any{unk}, nil, "unk_id"}, {[]any{unk}, 1, "unk_id"}, {[]any{unk}, -1, "unk_id"},
		{[]any{unk, []any{"a"}}, 0, "model.vocab[1]"}, {[]any{unk, []any{1, "a"}}, 0, "model.vocab[1]"},
		{[]any{unk, "a"}, 0, "model.vocab[1]"}, {[]any{unk, []any{"a", 1, 2}}, 0, "model.vocab[1]"}, {[]any{unk, []any{}}, 0, "model.vocab[1]"},
		{[]any{unk, []any{"a", nil}}, 0, "model.vocab[1]"}, {[]any{unk, nil}, 0, "model.vocab[1]"}, {[]any{}, 0, "model.vocab is missing"},
		{many, 0, "18000005 bytes together"},
		{[]any{unk, []any{strings.Repeat("a", maxPiece+1), -1}}, 0, "piece 1 has 1025 bytes"},
	} {
		if _, err := scored(t, c.pieces, c.unk, false); errs.Code(err) != 4 || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), "tokenizer.json") {
			t.Errorf("%v, want one that names %s", err, c.say)
		}
	}
}
