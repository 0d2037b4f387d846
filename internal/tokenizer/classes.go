package tokenizer

import (
	"unicode"

	"golang.org/x/text/unicode/rangetable"

	"longlora/internal/tokenizer/onig"
)

// What the tokenizers library takes for a letter, a digit and so on follows the Unicode version of the tables that
// each part of it has: 16 in its regular expressions (package onig) and in Rust's own, 9 in its normal forms, 8 in
// Punctuation. Go's tables are of version 15. The tables here are the difference, found by asking the library
// (version 0.23.3) about every code point.

var (
	// numeric is what Digits cuts off: char::is_numeric of Rust.
	numeric = rangetable.Merge(unicode.N,
		onig.Ranges(`10d40-10d49 116d0-116e3 11bf0-11bf9 11de0-11de9 16130-16139 16d70-16d79 16ff4-16ff6 1ccf0-1ccf9 `+
			`1e5f1-1e5fa`))
	// wordly is \w of Rust's regular expressions (Unicode Technical Standard 18): alphabetic, mark, decimal digit,
	// connector, joiner.
	wordly = rangetable.Merge(unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
		unicode.Join_Control,
		onig.Ranges(`897 1c89-1c8a a7cb-a7cd a7da-a7dc 105c0-105f3 10d40-10d65 10d69-10d6d 10d6f-10d85 10ec2-10ec4 10efc `+
			`11380-11389 1138b 1138e 11390-113b5 113b7-113c0 113c2 113c5 113c7-113ca 113cc-113d3 113e1-113e2 `+
			`116d0-116e3 11bc0-11be0 11bf0-11bf9 11f5a 13460-143fa 16100-16139 16d40-16d6c 16d70-16d79 18cff `+
			`1ccf0-1ccf9 1e5d0-1e5fa 2ebf0-2ee5d`))
	// newPunctuation is P here but not in Punctuation, oldPunctuation the reverse.
	newPunctuation = onig.Ranges(
		`61d 9fd a76 c77 c84 1b7d-1b7e 2e43-2e4f 2e52-2e5d 10ead 10f55-10f59 10f86-10f89 1144b-1144f 1145a-1145b ` +
			`1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 11b00-11b09 ` +
			`11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 16e97-16e9a 16fe2 1e95e-1e95f`)
	oldPunctuation = onig.Ranges(`166d 111c9`)
	// inert are characters younger than Unicode 9 that have a decomposition or a combining class now: the library
	// normalizes them to themselves.
	inert = onig.Ranges(
		`7fd 898-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1ace 1df6-1dfa 32ff a7f2-a7f4 a82c ab69 10781-10785 ` +
			`10787-107b0 107b2-107ba 10d24-10d27 10eab-10eac 10efd-10eff 10f46-10f50 10f82-10f85 11070 1133b 1145e ` +
			`11839-1183a 11930 11935 11938 1193d-1193e 11943 119e0 11a34 11a47 11a99 11d42 11d44-11d45 11d97 ` +
			`11f41-11f42 16ff0-16ff1 1e030-1e06d 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1f16c 1fbf0-1fbf9`)
)

// class is what the split patterns tell apart.
type class uint8

const (
	other  class = iota
	letter       // \p{L}
	number       // \p{N}
	space        // \s
)

// classes holds the class of each character below its length; those above are few and looked up.
var classes = func() []class {
	t := make([]class, 0x3400)
	for r := range t {
		t[r] = lookUpClass(rune(r))
	}
	return t
}()

func lookUpClass(r rune) class {
	switch {
	case unicode.Is(onig.Letter, r):
		return letter
	case unicode.Is(onig.Number, r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

func classOf(r rune) class {
	switch {
	case int(r) < len(classes):
		return classes[r]
	case r < 0xa000 || r >= 0xac00 && r < 0xd7a4: // CJK and Hangul
		if r < 0x4dc0 || r >= 0x4e00 {
			return letter
		}
	}
	return lookUpClass(r)
}

// punctuation is what Punctuation cuts off.
func punctuation(r rune) bool {
	if r < unicode.MaxASCII {
		return r > ' ' && (r < '0' || r > '9') && !asciiLetter(byte(r))
	}
	return unicode.IsPunct(r) && !unicode.Is(newPunctuation, r) || unicode.Is(oldPunctuation, r)
}

// lower is Lowercase: char::to_lowercase of Rust, which knows letters of Unicode 16 and 17 and writes U+0130 as two.
func lower(r rune) string {
	switch {
	case r == 0x130:
		return "i\u0307"
	case r == 0x1c89 || r == 0xa7cc || r == 0xa7ce || r == 0xa7d2 || r == 0xa7d4 || r == 0xa7da:
		return string(r + 1)
	case r == 0xa7cb:
		return "\u0264"
	case r == 0xa7dc:
		return "\u019b"
	case r >= 0x10d50 && r <= 0x10d65:
		return string(r + 0x20)
	case r >= 0x16ea0 && r <= 0x16eb8:
		return string(r + 27)
	}
	return string(unicode.ToLower(r))
}
