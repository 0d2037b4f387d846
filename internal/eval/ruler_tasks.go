package eval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A subtask is one of the RULER-like tasks (after Hsieh et al., arXiv 2404.06654, in words of our own).
type subtask struct {
	name string
	hay  bool // its filler is the text of --haystack
	make func(g *drawing) script
}

// subtasks in the order of results. Their names stand in results and in what is drawn.
var subtasks = []subtask{
	{"niah", false, needleInFiller},
	{"niah_words", false, needleAmongWords},
	{"niah_uuids", false, needleAmongUUIDs},
	{"vt", false, variableTracing},
	{"cwe", false, commonWords},
	{"fwe", false, frequentWords},
	{"hay_single", true, func(g *drawing) script { return g.inHaystack(1, 1, 1) }},
	{"hay_multikey", true, func(g *drawing) script { return g.inHaystack(4, 1, 1) }},
	{"hay_multivalue", true, func(g *drawing) script { return g.inHaystack(1, 4, 1) }},
	{"hay_multiquery", true, func(g *drawing) script { return g.inHaystack(4, 1, 4) }},
}

// A script is a prompt but for how much filler it holds.
type script struct {
	before, after string
	filler        func(n int) []string // its first n units; the same ones for every n
	needles       []needle
	least         int      // units without which it would not be this task
	units         int      // units that there are; 0: endless
	refs          []string // what the answer must hold
}

// A needle stands somewhere in the filler.
type needle struct {
	at   float64 // share of the filler that stands before it, 0 ≤ at < 1
	text string
}

// text is the prompt with n units of filler. A needle stands where a sentence begins.
func (s *script) text(n int) string {
	units := s.filler(n)
	var b strings.Builder
	b.WriteString(s.before)
	done := 0
	for _, x := range s.needles { // in the order of their places
		i := sentenceFrom(units, int(x.at*float64(n+1)))
		for _, u := range units[done:i] {
			b.WriteString(u)
		}
		b.WriteString(x.text)
		done = i
	}
	for _, u := range units[done:] {
		b.WriteString(u)
	}
	return strings.TrimRightFunc(b.String(), unicode.IsSpace) + s.after
}

// sentenceFrom is the first unit from i on that begins a sentence, or i where none does among the next hundred.
func sentenceFrom(units []string, i int) int {
	for k := i; k < min(i+100, len(units)+1); k++ {
		if k == 0 || k == len(units) || endsSentence(units[k-1]) {
			return k
		}
	}
	return i
}

func endsSentence(unit string) bool {
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(unit, unicode.IsSpace))
	return strings.ContainsRune(".!?。！？", last) || strings.Contains(unit, "\n")
}

// A drawing is what one sample draws from: a generator of its own and, for some, a text.
type drawing struct {
	*rand.Rand
	hay    *haystack
	things map[string]bool // drawn already
}

// newDrawing depends on (seed, ctx, trial) and the subtask's name alone.
func newDrawing(name string, hay *haystack, seed uint64, ctx, trial int) *drawing {
	b := []byte("RULER-like " + name + " ")
	for _, v := range []uint64{seed, uint64(ctx), uint64(trial)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return &drawing{rand.New(rand.NewChaCha8(sha256.Sum256(b))), hay, map[string]bool{}}
}

// endless is filler whose units are drawn one after another when they are first wanted. It must be the last that a
// sample draws.
func endless(next func() string) func(n int) []string {
	var units []string
	return func(n int) []string {
		for len(units) < n {
			units = append(units, next())
		}
		return units[:n]
	}
}

// thing draws the name of a thing that no other has. There are more than most contexts ask for: see things.
func (g *drawing) thing() string {
	for {
		t := qualities[g.IntN(len(qualities))] + " " + looks[g.IntN(len(looks))] + " " + nouns[g.IntN(len(nouns))]
		if !g.things[t] {
			g.things[t] = true
			return t
		}
	}
}

// things is how many names are drawn at most, half of those that there are: about a million.
func things() int { return len(qualities) * len(looks) * len(nouns) / 2 }

func (g *drawing) number() string { return fmt.Sprint(1000000 + g.IntN(9000000)) }

// uuid draws a version 4 UUID (RFC 9562, section 5.4).
func (g *drawing) uuid() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], g.Uint64())
	binary.LittleEndian.PutUint64(b[8:], g.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func (g *drawing) sentence() string { return sentences[g.IntN(len(sentences))] + " " }

// places draws n places, rising.
func (g *drawing) places(n int) []float64 {
	at := make([]float64, n)
	for i := range at {
		at[i] = g.Float64()
	}
	slices.Sort(at)
	return at
}

const (
	numberOf = "The registry number of the %s is %s. "
	find     = "\n\nWhat is the registry number of the %[1]s? The registry number of the %[1]s is"
)

func needleInFiller(g *drawing) script {
	key, value := g.thing(), g.number()
	return script{
		before: "Somewhere in the following text the registry number of a thing is given. Remember it: you will be asked " +
			"for it.\n\n",
		needles: []needle{{g.Float64(), fmt.Sprintf(numberOf, key, value)}},
		after:   fmt.Sprintf(find, key),
		refs:    []string{value},
		filler:  endless(g.sentence),
	}
}

func needleAmongWords(g *drawing) script {
	line := func(key, value string) string {
		return fmt.Sprintf("The registry number of the %s is %s.\n", key, value)
	}
	key, value := g.thing(), g.number()
	return script{
		before:  "Here is a register of things and their numbers. You will be asked for one of them.\n\n",
		needles: []needle{{g.Float64(), line(key, value)}},
		after:   fmt.Sprintf(find, key),
		refs:    []string{value},
		least:   1,
		units:   things(),
		filler:  endless(func() string { return line(g.thing(), g.number()) }),
	}
}

func needleAmongUUIDs(g *drawing) script {
	line := func(key, value string) string { return fmt.Sprintf("The item %s has the code %s.\n", key, value) }
	key, value := g.uuid(), g.uuid()
	return script{
		before:  "Here is a register of items and their codes. You will be asked for one of them.\n\n",
		needles: []needle{{g.Float64(), line(key, value)}},
		after:   fmt.Sprintf("\n\nWhich code does the item %[1]s have? The item %[1]s has the code", key),
		refs:    []string{value},
		least:   1,
		filler:  endless(func() string { return line(g.uuid(), g.uuid()) }),
	}
}

// hops is how often a value of variable tracing is passed on.
const hops = 4

// variableTracing passes two numbers on from variable to variable and asks for all that have the first.
func variableTracing(g *drawing) script {
	taken := map[string]bool{}
	name := func() string {
		for {
			b := make([]byte, 5)
			for i := range b {
				b[i] = byte('A' + g.IntN(26))
			}
			if s := string(b); !taken[s] {
				taken[s] = true
				return s
			}
		}
	}
	s := script{before: "In the following text variables get values, from a number or from one another. Keep track of " +
		"them.\n\n"}
	values := []int{10000 + g.IntN(45000), 55000 + g.IntN(45000)}
	g.Shuffle(2, func(i, k int) { values[i], values[k] = values[k], values[i] })
	for chain, value := range values {
		before := fmt.Sprint(value)
		for _, at := range g.places(hops + 1) {
			v := name()
			s.needles = append(s.needles, needle{at, fmt.Sprintf("The variable %s is set to %s. ", v, before)})
			before = "the value of " + v
			if chain == 0 {
				s.refs = append(s.refs, v)
			}
		}
	}
	slices.SortStableFunc(s.needles, func(a, b needle) int {
		if a.at < b.at {
			return -1
		} else if a.at > b.at {
			return 1
		}
		return 0
	})
	s.after = fmt.Sprintf("\n\nWhich %[1]d variables have the value %[2]d, directly or passed on? The %[1]d variables "+
		"with the value %[2]d are", hops+1, values[0])
	s.filler = endless(g.sentence)
	return s
}

// Of the list of cwe ten words are common: each stands ten times where the others stand once. A tenth of the others and
// every common word once are a part of the list, in a drawn order; ten parts have every word.
const common = 10

func commonWords(g *drawing) script {
	words := make([]string, len(nouns))
	for i, k := range g.Perm(len(nouns)) {
		words[i] = nouns[k]
	}
	refs, others := words[:common], words[common:]
	part := (len(others) + common - 1) / common
	var left, rest []string
	return script{
		before: "Here is a list of words. Some stand in it far more often than the others.\n\n",
		after: fmt.Sprintf("\n\nWhich %[1]d words stand most often in the list? The %[1]d most common words of the list are",
			common),
		refs:  slices.Clone(refs),
		least: 2 * (part + common),
		filler: endless(func() string {
			if len(left) == 0 {
				if len(rest) == 0 {
					rest = slices.Clone(others)
					g.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
				}
				n := min(part, len(rest))
				left, rest = slices.Concat(refs, rest[:n]), rest[n:]
				g.Shuffle(len(left), func(i, k int) { left[i], left[k] = left[k], left[i] })
			}
			w := left[0]
			left = left[1:]
			return w + " "
		}),
	}
}

// Words of fwe are invented. Of each sixty, the four most frequent stand as often as frequencies says, falling with the
// square of the rank, as a Zipf distribution of exponent 2 does; each of the rest once, from a stock that is gone
// through round and round.
var frequencies = []int{36, 9, 4, 2}

const (
	frequentPart = 60
	stock        = 45
	frequent     = 3 // that are asked for
)

func frequentWords(g *drawing) script {
	taken := map[string]bool{}
	word := func() string {
		for {
			var b strings.Builder
			for range 3 {
				b.WriteByte("bdfgklmnprstvz"[g.IntN(14)])
				b.WriteByte("aeiou"[g.IntN(5)])
			}
			if s := b.String(); !taken[s] {
				taken[s] = true
				return s
			}
		}
	}
	words := make([]string, len(frequencies)+stock)
	for i := range words {
		words[i] = word()
	}
	rare, next := words[len(frequencies):], 0
	var left []string
	return script{
		before: "Here is a text in an unknown language. Some of its words stand in it more often than others.\n\n",
		after: fmt.Sprintf("\n\nWhich %[1]d words stand most often in the text? The %[1]d most frequent words of the text "+
			"are", frequent),
		refs:  slices.Clone(words[:frequent]),
		least: 2 * frequentPart,
		filler: endless(func() string {
			if len(left) == 0 {
				for i, n := range frequencies {
					left = append(left, slices.Repeat(words[i:i+1], n)...)
				}
				for len(left) < frequentPart {
					left = append(left, rare[next%stock])
					next++
				}
				g.Shuffle(len(left), func(i, k int) { left[i], left[k] = left[k], left[i] })
			}
			w := left[0]
			left = left[1:]
			return w + " "
		}),
	}
}

// inHaystack hides the registry numbers of some things in the text, several for each where values says so, and asks for
// those of the first things.
func (g *drawing) inHaystack(keys, values, asked int) script {
	var names []string
	var needles []needle
	s := script{before: "In the following text the registry numbers of some things are given. Remember them: you will " +
		"be asked.\n\n"}
	for k := range keys {
		key := g.thing()
		if k < asked {
			names = append(names, "the "+key)
		}
		for range values {
			value, form := g.number(), numberOf
			if values > 1 {
				form = "One registry number of the %s is %s. "
			}
			needles = append(needles, needle{text: fmt.Sprintf(form, key, value)})
			if k < asked {
				s.refs = append(s.refs, value)
			}
		}
	}
	g.Shuffle(len(needles), func(i, k int) { needles[i], needles[k] = needles[k], needles[i] })
	for i, at := range g.places(len(needles)) {
		needles[i].at = at
	}
	s.needles = needles
	switch of := strings.Join(names, ", "); {
	case values > 1:
		s.after = fmt.Sprintf("\n\nWhich %[1]d registry numbers does %[2]s have? The %[1]d registry numbers of %[2]s are",
			values, of)
	case asked > 1:
		s.after = fmt.Sprintf("\n\nWhat are the registry numbers of %[1]s? In this order, the registry numbers of %[1]s are",
			of)
	default:
		s.after = fmt.Sprintf("\n\nWhat is the registry number of %[1]s? The registry number of %[1]s is", of)
	}
	s.filler = g.hay.from(g.IntN(len(g.hay.words)))
	return s
}
