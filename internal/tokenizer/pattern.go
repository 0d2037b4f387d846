package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"longlora/internal/tokenizer/onig"
)

// finder goes through a text from its beginning to its end and yields what matches and what lies between, in order.
type finder func(t text, yield func(i, j int, match bool)) error

// pattern is the "pattern" of tokenizer.json: a literal or a regular expression of Oniguruma.
type pattern struct{ Regex, String *string }

func (p pattern) finder() (finder, error) {
	switch {
	case p.String != nil && *p.String != "":
		return literal(*p.String), nil
	case p.Regex != nil:
		if next := known(*p.Regex); next != nil {
			return func(t text, yield func(i, j int, match bool)) error {
				for s, i := t.s, 0; i < len(s); {
					n := next(s[i:])
					yield(i, i+n, true)
					i += n
				}
				return nil
			}, nil
		}
		re, err := onig.Compile(*p.Regex)
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", shown(*p.Regex), err)
		}
		return matches(*p.Regex, re), nil
	}
	return nil, errors.New("pattern: neither a Regex nor a String")
}

// shown is an expression for a message, which does not grow with it.
func shown(expr string) string {
	const most = 200
	if len(expr) > most {
		return fmt.Sprintf("%.*q... of %d bytes", most, expr, len(expr))
	}
	return strconv.Quote(expr)
}

func literal(sep string) finder {
	return func(t text, yield func(i, j int, match bool)) error {
		for s, i := t.s, 0; i < len(s); {
			k := strings.Index(s[i:], sep)
			if k < 0 {
				yield(i, len(s), false)
				return nil
			}
			if k > 0 {
				yield(i, i+k, false)
			}
			yield(i+k, i+k+len(sep), true)
			i += k + len(sep)
		}
		return nil
	}
}

// where finds the single characters that is holds for.
func where(is func(r rune) bool) finder {
	return func(t text, yield func(i, j int, match bool)) error {
		s, done := t.s, 0
		for i := 0; i < len(s); {
			r, n := utf8.DecodeRuneInString(s[i:])
			if is(r) {
				if done < i {
					yield(done, i, false)
				}
				yield(i, i+n, true)
				done = i + n
			}
			i += n
		}
		if done < len(s) {
			yield(done, len(s), false)
		}
		return nil
	}
}

// matches finds what a regular expression matches.
func matches(expr string, re *onig.Regexp) finder {
	return func(t text, yield func(i, j int, match bool)) error {
		s, done := t.s, 0
		err := re.Find(s, &t.bound.steps, func(i, j int) bool {
			if done < i {
				yield(done, i, false)
			}
			yield(i, j, true)
			done = j
			return true
		})
		if err != nil {
			return fmt.Errorf("pattern %s: %w of %d bytes", shown(expr), err, len(s))
		}
		if done < len(s) {
			yield(done, len(s), false)
		}
		return nil
	}
}
