package onig

import (
	"fmt"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/rangetable"
)

// Oniguruma's tables are those of Unicode 16, Go's of 15. younger is the difference, found by asking the tokenizers
// library (version 0.23.3) about every code point (scripts/gen-onig-cases.py); a test holds every name to it.
var younger = map[string]string{
	"Lu": "1c89 a7cb-a7cc a7da a7dc 10d50-10d65",
	"Ll": "1c8a a7cd a7db 10d70-10d85",
	"Lm": "10d4e 10d6f 16d40-16d42 16d6b-16d6c",
	"Lo": "105c0-105f3 10d4a-10d4d 10d4f 10ec2-10ec4 11380-11389 1138b 1138e 11390-113b5 113b7 113d1 113d3 11bc0-11be0 " +
		"13460-143fa " +
		"16100-1611d 16d43-16d6a 18cff 1e5d0-1e5ed 1e5f0 2ebf0-2ee5d",
	"Mn": "897 10d69-10d6d 10efc 113bb-113c0 113ce 113d0 113d2 113e1-113e2 11f5a 1611e-16129 1612d-1612f 1e5ee-1e5ef",
	"Mc": "113b8-113ba 113c2 113c5 113c7-113ca 113cc-113cd 113cf 1171e 1612a-1612c",
	"Nd": "10d40-10d49 116d0-116e3 11bf0-11bf9 16130-16139 16d70-16d79 1ccf0-1ccf9 1e5f1-1e5fa",
	"Pd": "10d6e",
	"Po": "1b4e-1b4f 1b7f 113d4-113d5 113d7-113d8 11be1 16d6d-16d6f 1e5ff",
	"Sm": "10d8e-10d8f",
	"So": "2427-2429 2ffc-2fff 31e4-31e5 31ef 1cc00-1ccef 1cd00-1ceb3 1f8b2-1f8bb 1f8c0-1f8c1 1fa89 1fa8f 1fabe 1fac6 " +
		"1fadc 1fadf " +
		"1fae9 1fbcb-1fbef",
	"Arabic": "897 10ec2-10ec4 10efc", "Cyrillic": "1c89-1c8a", "Han": "2ebf0-2ee5d", "Latin": "a7cb-a7cd a7da-a7dc",
	"Myanmar": "116d0-116e3",
}

// moved is U+1171E, a Mn of Go that became a Mc.
const moved = 0x1171e

// scripts are the names of scripts that the library was asked about.
var scripts = strings.Fields("Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Ethiopic Georgian Greek Gujarati " +
	"Gurmukhi Han Hangul Hebrew " +
	"Hiragana Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Thai Tibetan Yi")

// Ranges reads "lo-hi lo-hi ..." in hexadecimal.
func Ranges(s string) *unicode.RangeTable {
	t := &unicode.RangeTable{}
	for _, f := range strings.Fields(s) {
		var lo, hi rune
		if n, _ := fmt.Sscanf(f, "%x-%x", &lo, &hi); n == 1 {
			hi = lo
		}
		if hi < 1<<16 {
			t.R16 = append(t.R16, unicode.Range16{Lo: uint16(lo), Hi: uint16(hi), Stride: 1})
		} else {
			t.R32 = append(t.R32, unicode.Range32{Lo: uint32(lo), Hi: uint32(hi), Stride: 1})
		}
	}
	return t
}

// table is the characters of a general category or a script as of Unicode 16.
func table(name string) *unicode.RangeTable {
	t, ok := unicode.Categories[name]
	if !ok {
		t = unicode.Scripts[name]
	}
	switch name {
	case "L", "M", "N", "P", "S":
		return join(categories(name)...)
	}
	return rangetable.Merge(t, Ranges(younger[name]))
}

func join(names ...string) *unicode.RangeTable {
	var all []*unicode.RangeTable
	for _, n := range names {
		all = append(all, table(n))
	}
	return rangetable.Merge(all...)
}

// categories are the two-letter categories of one.
func categories(name string) []string {
	return map[string][]string{
		"L": {"Lu", "Ll", "Lt", "Lm", "Lo"}, "M": {"Mn", "Mc", "Me"}, "N": {"Nd", "Nl", "No"},
		"P": {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"}, "S": {"Sm", "Sc", "Sk", "So"}, "Z": {"Zs", "Zl", "Zp"},
	}[name]
}

// The tables that a tokenizer's own matchers share with expressions.
var (
	Letter = table("L")
	Upper  = table("Lu")
	Lower  = table("Ll")
	Mark   = table("M")
	Number = table("N")
)

var (
	properties = sync.OnceValue(makeProperties)
	spaceSet   = sync.OnceValue(func() *set { return setOf(unicode.White_Space) })
	digitSet   = sync.OnceValue(func() *set { return properties()["nd"] })
	wordSet    = sync.OnceValue(func() *set { return properties()["word"] })
	newline    = newSet([]span{{'\n', '\n'}})
)

// plainName writes a property's name as Oniguruma compares it: without regard to case, spaces, - and _.
func plainName(s string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s))
}

// makeProperties lists what \p{} may name.
func makeProperties() map[string]*set {
	m := map[string]*set{}
	put := func(s *set, names ...string) {
		for _, n := range names {
			m[plainName(n)] = s
		}
	}
	for _, c := range []string{"L", "M", "N", "P", "S", "Z"} {
		var parts []*set
		for _, n := range categories(c) {
			s := setOf(table(n))
			if n == "Mn" {
				s = intersection(s, complement(newSet([]span{{moved, moved}})))
			}
			put(s, n)
			parts = append(parts, s)
		}
		put(union(parts...), c)
	}
	put(m["l"], "Letter")
	put(m["m"], "Mark")
	put(m["n"], "Number")
	put(m["p"], "Punctuation", "Punct")
	put(m["s"], "Symbol")
	put(m["z"], "Separator")
	put(m["nd"], "Digit")
	put(union(m["lu"], m["ll"], m["lt"]), "LC")
	put(complement(union(m["l"], m["m"], m["n"], m["p"], m["s"], m["z"])), "C")
	for _, n := range []string{"Cc", "Cf", "Co"} {
		put(setOf(unicode.Categories[n]), n)
	}
	put(m["cc"], "Cntrl")
	put(spaceSet(), "Space", "White_Space")
	for _, n := range scripts {
		put(setOf(table(n)), n)
	}
	latin := newSet([]span{{0xb2, 0xb3}, {0xb9, 0xb9}, {0xbc, 0xbe}}) // ² ³ ¹ ¼ ½ ¾, by Oniguruma's table of Latin-1
	put(union(m["l"], m["m"], m["nd"], m["nl"], m["pc"], setOf(unicode.Other_Alphabetic), latin), "Word")
	put(newSet([]span{{0, 0x7f}}), "ASCII")
	put(newSet([]span{{0, unicode.MaxRune}}), "Any")
	return m
}
