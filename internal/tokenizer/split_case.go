package tokenizer

import (
	"unicode"
	"unicode/utf8"

	"longlora/internal/tokenizer/onig"
)

// The patterns of GPT-4o and of Mistral's Tekken: words are cut where upper case follows lower.
const (
	gpt4oPattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	tekkenPattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|` +
		`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// casing says in which of the two sets of the patterns a character is.
type casing uint8

const (
	upperSet casing = 1 // Lu Lt Lm Lo M
	lowerSet casing = 2 // Ll Lm Lo M
)

func casingOf(r rune) casing {
	switch {
	case r < utf8.RuneSelf:
		switch {
		case r >= 'A' && r <= 'Z':
			return upperSet
		case r >= 'a' && r <= 'z':
			return lowerSet
		}
		return 0
	case unicode.Is(onig.Lower, r):
		return lowerSet
	case unicode.Is(onig.Upper, r), unicode.Is(unicode.Lt, r):
		return upperSet
	case classOf(r) == letter, unicode.Is(onig.Mark, r):
		return upperSet | lowerSet
	}
	return 0
}

// casedWord is the end of the word that begins at i, by the set of upper case and then the one of lower; 0 for none.
// With needLower the word must end in the lower set, for which the run of upper case gives characters back.
func casedWord(s string, i int, needLower bool) int {
	end, back := i, 0 // back: the end of the last character of both sets in the run of upper case
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		c := casingOf(r)
		if c&upperSet == 0 {
			break
		}
		end += n
		if c&lowerSet != 0 {
			back = end
		}
	}
	upper := end
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		if casingOf(r)&lowerSet == 0 {
			break
		}
		end += n
	}
	switch {
	case end > upper:
		return end
	case needLower:
		return back
	case upper > i:
		return upper
	}
	return 0
}

// casedPiece is the length of the first piece of s under gpt4oPattern (digits 3, contractions) or tekkenPattern.
func casedPiece(s string, digits int, contractions bool) int {
	c, w := peek(s)
	lead := 0
	if c != letter && c != number && s[0] != '\r' && s[0] != '\n' {
		lead = w
	}
	for _, needLower := range []bool{true, false} {
		end := casedWord(s, lead, needLower)
		if end == 0 && lead > 0 {
			end = casedWord(s, 0, needLower)
		}
		if end > 0 {
			if contractions {
				end += contraction(s[end:], true)
			}
			return end
		}
	}
	if c == number {
		return run(s, 0, number, digits)
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if end := run(s, start, other, 0); end > start {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n' || s[end] == '/') {
			end++
		}
		return end
	}
	if end := lastNewline(s); end > 0 {
		return end
	}
	return spaces(s)
}
