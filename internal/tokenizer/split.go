package tokenizer

import "unicode/utf8"

// The split patterns known by hand: GPT-2's, LLaMA-3's (also GPT-4's) and Qwen2's. Each matches every text from end
// to end. A matcher is some ten times as fast as the regular expression.
const (
	gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	qwen2Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// known is the matcher of a pattern that there is one for, else nil.
func known(pattern string) func(s string) int {
	switch pattern {
	case gpt2Pattern:
		return gpt2Piece
	case llama3Pattern:
		return func(s string) int { return llama3Piece(s, 3) }
	case qwen2Pattern:
		return func(s string) int { return llama3Piece(s, 1) }
	case gpt4oPattern:
		return func(s string) int { return casedPiece(s, 3, true) }
	case tekkenPattern:
		return func(s string) int { return casedPiece(s, 1, false) }
	}
	return nil
}

// peek is the class and length of the first character of s; other and 0 at the end.
func peek(s string) (class, int) {
	if s == "" {
		return other, 0
	}
	if c := s[0]; c < utf8.RuneSelf {
		return classes[c], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return classOf(r), n
}

// run is the end of the characters of class k that begin at i, at most limit of them (0: any number).
func run(s string, i int, k class, limit int) int {
	for n := 0; i < len(s) && (limit == 0 || n < limit); n++ {
		c, w := peek(s[i:])
		if c != k {
			break
		}
		i += w
	}
	return i
}

// contraction is the length of 's 't 'm 'd 're 've 'll at the start of s, 0 where there is none. Where case
// is folded, U+017F (long s) folds to s.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	low := func(c byte) byte {
		if fold && c >= 'A' && c <= 'Z' {
			return c | 0x20
		}
		return c
	}
	switch c := low(s[1]); c {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v', 'l':
		if len(s) > 2 {
			d := low(s[2])
			if c == 'l' && d == 'l' || c != 'l' && d == 'e' {
				return 3
			}
		}
	}
	if fold && len(s) > 2 && s[1:3] == "\u017f" {
		return 3
	}
	return 0
}

// spaces is the length of the piece of white space at the start of s by \s+(?!\S)|\s+: all of it at the end
// of the text, else all but the last character, else that one.
func spaces(s string) int {
	end, last := 0, 0
	for end < len(s) {
		c, w := peek(s[end:])
		if c != space {
			break
		}
		last, end = end, end+w
	}
	if end == len(s) || last == 0 {
		return end
	}
	return last
}

// gpt2Piece is the length of the first piece of s under gpt2Pattern.
func gpt2Piece(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if c, w := peek(s[start:]); w > 0 && c != space {
		return run(s, start+w, c, 0)
	}
	return spaces(s)
}

// llama3Piece is the length of the first piece of s under llama3Pattern (digits 3) or qwen2Pattern (digits 1).
func llama3Piece(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, w := peek(s)
	if c == letter {
		return run(s, w, letter, 0)
	}
	if c == number {
		return run(s, 0, number, digits)
	}
	if s[0] != '\r' && s[0] != '\n' { // any other character may lead a word
		if end := run(s, w, letter, 0); end > w {
			return end
		}
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if end := run(s, start, other, 0); end > start {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	if end := lastNewline(s); end > 0 {
		return end
	}
	return spaces(s)
}

// lastNewline is the end of \s*[\r\n]+ at the start of s: behind the last newline of the white space.
func lastNewline(s string) int {
	last := 0
	for i := 0; i < len(s); {
		c, w := peek(s[i:])
		if c != space {
			break
		}
		i += w
		if s[i-1] == '\r' || s[i-1] == '\n' {
			last = i
		}
	}
	return last
}
