package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The two ways to merge a word agree to the last token, whatever merges there are: ranks in the order of the merges, as in
// tokenizer.json, or by a score that longer tokens may share with shorter ones, or have a better one, as in sentencepiece.
func FuzzMerge(f *testing.F) {
	f.Add(uint64(1), "aaaaaaaaaaaaaaaaaaaab", false)
	f.Add(uint64(2), "abababbabababaabb", true)
	f.Add(uint64(3), strings.Repeat("abc", 20), true)
	f.Fuzz(func(t *testing.T, seed uint64, word string, scores bool) {
		if len(word) > 1<<12 {
			return
		}
		m := randomMerges(seed, scores)
		var short wordCache
		var long symbols
		for i := range len(word) {
			id := int32(word[i] % letterKinds)
			short.syms, long = append(short.syms, id), append(long, id)
		}
		m.mergeAll(&short)
		m.mergeLong(long)
		a, b := merged(short.syms), merged(long)
		if !slices.Equal(a, b) {
			t.Fatalf("%v, for a long word %v", a, b)
		}
		at := 0
		for i := 0; i < len(a); i += 2 { // tokens spell the word
			for j, c := range spelled[a[i]] {
				if at+j >= len(word) || byte(c) != word[at+j]%letterKinds {
					t.Fatalf("token %d of %v is not what stands at %d", i/2, a, at)
				}
			}
			at += int(a[i+1])
		}
		if at != len(word) {
			t.Fatalf("%d bytes of %d", at, len(word))
		}
	})
}

const letterKinds = 3

// spelled are the texts of randomMerges' tokens: all words of up to four letters.
var spelled, spelledIDs = func() (list []string, ids map[string]int32) {
	for c := range byte(letterKinds) {
		list = append(list, string([]byte{c}))
	}
	for i := 0; len(list[i]) < 4; i++ {
		for c := range byte(letterKinds) {
			list = append(list, list[i]+string([]byte{c}))
		}
	}
	ids = map[string]int32{}
	for i, s := range list {
		ids[s] = int32(i)
	}
	return list, ids
}()

// randomMerges takes half of all merges there may be.
func randomMerges(seed uint64, scores bool) *bpe {
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := &bpe{merges: map[uint64]merge{}}
	for _, id := range rnd.Perm(len(spelled)) {
		s := spelled[id]
		for i := 1; i < len(s); i++ {
			if rnd.IntN(2) == 0 {
				rank := int32(len(m.merges))
				if scores {
					rank = int32(id % 5)
				}
				m.merges[pairKey(spelledIDs[s[:i]], spelledIDs[s[i:]])] = merge{rank, int32(id)}
			}
		}
	}
	return m
}

// merged are ids and lengths in turn.
func merged(s symbols) (out []int32) {
	for i := int32(0); int(i) < len(s); i += s.span(i) {
		out = append(out, s[i], s.span(i))
	}
	return out
}

// The ids of words of a million letters are the library's (scripts/gen-long-word-cases.py), and what they take of memory
// follows their length.
func TestLongWord(t *testing.T) {
	tk, err := Load("testdata/long", []int{0})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.ReadFile("testdata/long/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Alphabet        string
		Letters, Tokens int
		SHA256          string
	}
	if err := json.Unmarshal(blob, &cases); err != nil || len(cases) == 0 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		word := make([]byte, c.Letters)
		for i, x := 0, uint32(1); i < len(word); i++ {
			x = x*1664525 + 1013904223
			word[i] = c.Alphabet[int(x>>24)%len(c.Alphabet)]
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ids := encode(t, tk, string(word))
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > uint64(24*len(word)) {
			t.Errorf("%s: %d bytes for %d letters", c.Alphabet, after.TotalAlloc-before.TotalAlloc, len(word))
		}
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, ids); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); len(ids) != c.Tokens || got != c.SHA256 {
			t.Errorf("%s: %d tokens of hash %s, the library's %d of %s", c.Alphabet, len(ids), got, c.Tokens, c.SHA256)
		}
	}
}
