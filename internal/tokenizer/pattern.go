package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// finder goes through s from its beginning to its end and yields what matches and what lies between, in order.
type finder func(s string, yield func(i, j int, match bool)) error

// pattern is the "pattern" of tokenizer.json: a literal or a regular expression of Oniguruma.
type pattern struct{ Regex, String *string }

func (p pattern) finder() (finder, error) {
	switch {
	case p.String != nil && *p.String != "":
		return literal(*p.String), nil
	case p.Regex != nil:
		if next := known(*p.Regex); next != nil {
			return func(s string, yield func(i, j int, match bool)) error {
				for i := 0; i < len(s); {
					n := next(s[i:])
					yield(i, i+n, true)
					i += n
				}
				return nil
			}, nil
		}
		expr, err := translate(*p.Regex)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", *p.Regex, err)
		}
		re, err := regexp2.Compile(expr, regexp2.None)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", *p.Regex, err)
		}
		return matches(re), nil
	}
	return nil, errors.New("pattern: neither a Regex nor a String")
}

func literal(sep string) finder {
	return func(s string, yield func(i, j int, match bool)) error {
		for i := 0; i < len(s); {
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
	return func(s string, yield func(i, j int, match bool)) error {
		done := 0
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
func matches(re *regexp2.Regexp) finder {
	return func(s string, yield func(i, j int, match bool)) error {
		runes := []rune(s)
		at, byteAt := 0, 0 // the same place, in runes and in bytes
		to := func(rune int) int {
			for ; at < rune; at++ {
				byteAt += utf8.RuneLen(runes[at])
			}
			return byteAt
		}
		done := 0
		m, err := re.FindRunesMatch(runes)
		for ; m != nil; m, err = re.FindNextMatch(m) {
			i := to(m.Index)
			if done < i {
				yield(done, i, false)
			}
			done = to(m.Index + m.Length)
			yield(i, done, true)
		}
		if err == nil && done < len(s) {
			yield(done, len(s), false)
		}
		return err
	}
}

// translate writes an expression of Oniguruma as one of regexp2 with the same meaning on every text, with the
// character classes of Oniguruma's Unicode version spelled out. What it is not sure of is an error.
func translate(expr string) (string, error) {
	t := translator{in: []rune(expr)}
	if err := t.run(); err != nil {
		return "", err
	}
	return t.out.String(), nil
}

type translator struct {
	in   []rune
	at   int
	out  strings.Builder
	fold bool // inside (?i: )
}

// run copies atoms, groups and quantifiers.
func (t *translator) run() error {
	type group struct {
		start int
		fold  bool
	}
	var groups []group
	atom := -1 // where in out the last atom begins
	for t.at < len(t.in) {
		c := t.in[t.at]
		start := t.out.Len()
		switch c {
		case '(':
			open, fold, err := t.open()
			if err != nil {
				return err
			}
			groups = append(groups, group{start, t.fold})
			t.fold = t.fold || fold
			t.out.WriteString(open)
			atom = -1
			continue
		case ')':
			if len(groups) == 0 {
				return errors.New("a ) too many")
			}
			g := groups[len(groups)-1]
			groups = groups[:len(groups)-1]
			t.fold = g.fold
			start = g.start
			t.out.WriteByte(')')
			t.at++
		case '|':
			t.out.WriteByte('|')
			t.at++
			atom = -1
			continue
		case '*', '+', '?', '{':
			if atom < 0 {
				return fmt.Errorf("%c with nothing before it", c)
			}
			if err := t.quantifier(atom); err != nil {
				return err
			}
			atom = -1
			continue
		case '[':
			if err := t.set(); err != nil {
				return err
			}
		case '\\':
			s, _, err := t.escape()
			if err != nil {
				return err
			}
			t.out.WriteString(s)
		case '.':
			t.out.WriteString(`[^\n]`)
			t.at++
		case '^', '$', ']', '}':
			return fmt.Errorf("%c is not supported", c)
		default:
			if err := t.literal(c); err != nil {
				return err
			}
			t.at++
		}
		atom = start
	}
	if len(groups) > 0 {
		return errors.New("a ) is missing")
	}
	return nil
}

func (t *translator) open() (string, bool, error) {
	rest := string(t.in[t.at:min(t.at+5, len(t.in))])
	for _, o := range []string{"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"} {
		if strings.HasPrefix(rest, o) {
			t.at += len(o)
			return o, false, nil
		}
	}
	if strings.HasPrefix(rest, "(?i:") {
		t.at += 4
		return "(?:", true, nil
	}
	if strings.HasPrefix(rest, "(?") || strings.HasPrefix(rest, "(*") {
		return "", false, fmt.Errorf("group %q is not supported", rest)
	}
	t.at++
	return "(?:", false, nil
}

// literal writes one character. Without regard to case, k and s have a third form each; pairs that a ligature
// folds to are refused, and so is all that is not ASCII.
func (t *translator) literal(c rune) error {
	if !t.fold || c < utf8.RuneSelf && !asciiLetter(byte(c)) {
		t.out.WriteString(quote(c))
		return nil
	}
	if c >= utf8.RuneSelf {
		return fmt.Errorf("%q without regard to case is not supported", c)
	}
	low := unicode.ToLower(c)
	if t.at > 0 && t.in[t.at-1] < utf8.RuneSelf {
		switch string([]rune{unicode.ToLower(t.in[t.at-1]), low}) {
		case "ff", "fi", "fl", "ss", "st":
			return fmt.Errorf("%q without regard to case is not supported", t.in[t.at-1:t.at+1])
		}
	}
	t.out.WriteString("[" + string([]rune{low, unicode.ToUpper(c)}))
	switch low {
	case 's':
		t.out.WriteRune('\u017f')
	case 'k':
		t.out.WriteRune('\u212a')
	}
	t.out.WriteByte(']')
	return nil
}

func quote(c rune) string {
	if c < utf8.RuneSelf && c > ' ' && !asciiLetter(byte(c)) && (c < '0' || c > '9') && c != '_' {
		return `\` + string(c)
	}
	return string(c)
}

// quantifier copies one, with its lazy or possessive mark, behind the atom that begins at start in out.
func (t *translator) quantifier(start int) error {
	end := t.at + 1
	interval := t.in[t.at] == '{'
	if interval {
		for end < len(t.in) && t.in[end] != '}' {
			if c := t.in[end]; (c < '0' || c > '9') && (c != ',' || end == t.at+1) {
				return errors.New("{ is not supported but as a count")
			}
			end++
		}
		if end == len(t.in) || end == t.at+1 {
			return errors.New("{ is not supported but as a count")
		}
		end++
	}
	q := string(t.in[t.at:end])
	t.at = end
	if t.at < len(t.in) {
		switch c := t.in[t.at]; {
		case c == '?' && !interval:
			q += "?"
			t.at++
		case c == '+' && !interval:
			t.at++
			all := t.out.String()
			t.out.Reset()
			t.out.WriteString(all[:start] + "(?>" + all[start:] + q + ")")
			return nil
		case strings.ContainsRune("*+?{", c):
			return fmt.Errorf("%s%c is not supported", q, c)
		}
	}
	t.out.WriteString(q)
	return nil
}

const spaceSet = "\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

// escape reads what a backslash begins and gives it as an atom and, where it can stand in a set, as a part of one.
func (t *translator) escape() (atom, inSet string, err error) {
	if t.at+1 >= len(t.in) {
		return "", "", errors.New("a backslash at the end")
	}
	c := t.in[t.at+1]
	t.at += 2
	switch c {
	case 's':
		return "[" + spaceSet + "]", spaceSet, nil
	case 'S':
		return "[^" + spaceSet + "]", "", nil
	case 'd', 'D':
		set := tableSet(categories["Nd"])
		if c == 'D' {
			return "[^" + set + "]", "", nil
		}
		return "[" + set + "]", set, nil
	case 'p', 'P':
		end := t.at
		for end < len(t.in) && t.in[end] != '}' {
			end++
		}
		if end >= len(t.in) || t.in[t.at] != '{' {
			return "", "", errors.New(`\p without {}`)
		}
		name := string(t.in[t.at+1 : end])
		t.at = end + 1
		table, ok := categories[name]
		if !ok {
			return "", "", fmt.Errorf(`\p{%s} is not supported`, name)
		}
		set := tableSet(table)
		if c == 'P' {
			return "[^" + set + "]", "", nil
		}
		return "[" + set + "]", set, nil
	case 'r', 'n', 't', 'f', 'v':
		return `\` + string(c), `\` + string(c), nil
	}
	if c >= utf8.RuneSelf || asciiLetter(byte(c)) || c >= '0' && c <= '9' {
		return "", "", fmt.Errorf(`\%c is not supported`, c)
	}
	return quote(c), quote(c), nil
}

// set copies [...] with its properties spelled out.
func (t *translator) set() error {
	if t.fold {
		return errors.New("a set without regard to case is not supported")
	}
	var b strings.Builder
	b.WriteByte('[')
	t.at++
	if t.at < len(t.in) && t.in[t.at] == '^' {
		b.WriteByte('^')
		t.at++
	}
	if t.at < len(t.in) && t.in[t.at] == ']' {
		return errors.New("a set that begins with ] is not supported")
	}
	for first, many := true, false; t.at < len(t.in); first = false {
		switch c := t.in[t.at]; {
		case c == ']':
			t.at++
			t.out.WriteString(b.String() + "]")
			return nil
		case c == '[' || c == '&' && t.at+1 < len(t.in) && t.in[t.at+1] == '&':
			return fmt.Errorf("%c in a set is not supported", c)
		case c == '\\':
			_, s, err := t.escape()
			if err != nil {
				return err
			}
			if s == "" {
				return fmt.Errorf(`\%c in a set is not supported`, t.in[t.at-1])
			}
			b.WriteString(s)
			many = utf8.RuneCountInString(s) > 2
		case c == '-' && !first && t.at+1 < len(t.in) && t.in[t.at+1] != ']':
			if many {
				return errors.New("a range that begins with a class is not supported")
			}
			b.WriteByte('-')
			t.at++
		default:
			b.WriteString(quote(c))
			t.at++
			many = false
		}
	}
	return errors.New("a ] is missing")
}

// tableSet spells a table out as the inside of a set.
func tableSet(table *unicode.RangeTable) string {
	var b strings.Builder
	add := func(lo, hi, stride rune) {
		for r := lo; r <= hi; r += stride {
			end := r
			if stride == 1 {
				end = hi
			}
			b.WriteString(quote(r))
			if end > r {
				b.WriteString("-" + quote(end))
			}
			if stride == 1 {
				return
			}
		}
	}
	for _, r := range table.R16 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	for _, r := range table.R32 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	return b.String()
}
