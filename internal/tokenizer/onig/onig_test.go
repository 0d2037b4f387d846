package onig

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"longlora/internal/testkit"
)

type libraryCases struct {
	Classes  map[string]string
	Patterns []struct {
		Expr        string
		Texts, Ends []string
	}
}

// readCases reads what the tokenizers library makes of expressions (scripts/gen-onig-cases.py): those in testdata, or
// more of them in the file ONIG_CASES.
func readCases(t testing.TB) *libraryCases {
	t.Helper()
	path := os.Getenv("ONIG_CASES")
	if path == "" {
		path = "testdata/cases.json"
	}
	blob := testkit.Read(t, path)
	c := &libraryCases{}
	if err := json.Unmarshal(blob, c); err != nil {
		t.Fatal(err)
	}
	if len(c.Patterns) < 100 {
		t.Fatalf("%d patterns", len(c.Patterns))
	}
	return c
}

// ends are the ends of the pieces that matches and what lies between them make of a text.
func ends(t testing.TB, re *Regexp, text string) string {
	t.Helper()
	var at []int
	err := re.Find(text, allowed(text), func(i, j int) bool {
		at = append(at, i, j)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	at = slices.Compact(slices.DeleteFunc(append(at, len(text)), func(i int) bool { return i == 0 }))
	return strings.Trim(fmt.Sprint(at), "[]")
}

// Texts are cut where the library cuts them. An expression that is refused is of a kind that this package says it does
// not have.
func TestCutsAreTheLibrarys(t *testing.T) {
	c := readCases(t)
	lacking := 0
	for _, p := range c.Patterns {
		re, err := Compile(p.Expr)
		if err != nil {
			if !strings.Contains(err.Error(), "not supported") {
				t.Errorf("%s: %v", p.Expr, err)
			}
			lacking++
			continue
		}
		for i, text := range p.Texts {
			if got := ends(t, re, text); got != p.Ends[i] {
				t.Errorf("%s cuts %q at %s, want %s", p.Expr, text, got, p.Ends[i])
			}
		}
	}
	if lacking > len(c.Patterns)*2/3 {
		t.Errorf("%d of %d expressions are not supported", lacking, len(c.Patterns))
	}
}

func TestClassesAreTheLibrarys(t *testing.T) {
	for expr, want := range readCases(t).Classes {
		re, err := Compile(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		var runs []string
		for _, p := range re.prog[0].set.spans {
			switch { // surrogates are no characters of a text
			case p.lo < 0xd800 && p.hi >= 0xd800 && p.hi <= 0xdfff:
				p.hi = 0xd7ff
			case p.lo >= 0xd800 && p.hi <= 0xdfff:
				continue
			case p.lo >= 0xd800 && p.lo <= 0xdfff:
				p.lo = 0xe000
			}
			runs = append(runs, fmt.Sprintf("%x-%x", p.lo, p.hi))
		}
		sum := sha256.Sum256([]byte(strings.Join(runs, " ")))
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s has other characters than in the library: %d runs", expr, len(runs))
		}
	}
}

// Expressions that backtrack without end elsewhere take steps by the length of the text here, and give what they should.
func TestWorkIsLinear(t *testing.T) {
	spaces := func(n int) string { return "q" + strings.Repeat(" ", n) + "!" }
	letters := func(n int) string { return strings.Repeat("a", n) + "!" }
	digits := func(n int) string { return strings.Repeat("1", n) }
	pairs := func(n int) string { return strings.Repeat("ab", n/2) + "!" }
	for _, c := range []struct {
		expr string
		text func(int) string
	}{
		{`(\s+\s+)+x`, spaces}, {`\s*\s*\s*\s*x`, spaces}, {`\s+$`, spaces}, {`\s++x`, spaces}, {`\s*?\s*?\s*?x`, spaces}, {`(?>\s+)x`, spaces},
		{`(a+)+b`, letters}, {`(a|a)+b`, letters}, {`(a|aa)+b`, letters}, {`(?:a|b|ab)+c`, pairs}, {`(?:(?:ab)+)+c`, pairs}, {`((a+b?)+b?)+c`, letters},
		{`\p{L}+(?=x)|\p{L}`, letters}, {`(?:a+?)+?b`, letters}, {`[^\s]+|\s+(?!\S)|\s+`, spaces},
		{`\d{1,3}(?=(?:\d{3})*\b)`, digits}, {`(?=(\d{3})+(?!\d))`, digits}, {`(?:(?=a)a)+b`, letters}, {`(?:(?>a|aa))+b`, letters},
	} {
		re, err := Compile(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		steps := func(n int) int {
			const most = 1 << 40
			m := matcher{re: re, s: c.text(n), left: most}
			for at := 0; at <= len(m.s); {
				i, j, err := m.search(at)
				if err != nil {
					t.Fatal(err)
				}
				if i < 0 {
					break
				}
				at = max(j, at+1)
			}
			return most - m.left
		}
		if few, many := steps(10_000), steps(80_000); many > 12*few {
			t.Errorf("%s: %d steps on 10,000 bytes, %d on 80,000", c.expr, few, many)
		}
	}
}

// What takes long all the same ends, by steps and not by a clock.
func TestWorkIsBounded(t *testing.T) {
	re, err := Compile(`(?=.*x).`) // looks at the whole rest from each place
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a", 1<<17) + "x"
	if err := re.Find(text, allowed(text), func(i, j int) bool { return true }); !errors.Is(err, ErrWork) {
		t.Errorf("%v", err)
	}
	if re, err = Compile(`(?:ab)+`); err != nil {
		t.Fatal(err)
	}
	if err := re.Find(strings.Repeat("ab", maxFrames+1), allowed(strings.Repeat("ab", maxFrames+1)), func(i, j int) bool { return true }); !errors.Is(err, ErrWork) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNotSupportedIsNamed(t *testing.T) {
	for expr, say := range map[string]string{
		`\1`: `\1`, `\p{Klingon}`: `\p{Klingon}`, `\p`: `\p`, `(?i:stop)`: `st`, `a{2}+`: "+", `a**`: "*", `(?<n>a)`: "(?<n>", `(?m:.)`: "(?m:", `(a`: ") is missing", `a)`: ") too many",
		`[a`: "]", `[]a]`: "]", `[b-a]`: "b-a", `[\d-a]`: "class", `*a`: "nothing before", `a{2000}`: "count", `(?:a*)*`: "match nothing", `(\s*\s*)*x`: "match nothing",
		`(?:\b)+`: "assertion", `(?:$)??`: "assertion", `(?:a?){30}`: "match nothing", `(?<=a+)b`: "behind", `\`: "backslash", `\x{110000}`: `\x`, `\xff`: `\x`, `\u12`: `\u`, `(?i:é)`: "é", `(?i:[a-z])`: "range", `[[:alpha:]]`: "[:", `\G`: `\G`,
		`((((a{1000}){1000}){1000}){1000}){1000}`: "steps long", strings.Repeat("(", 200): "groups", strings.Repeat("[", 200): "sets", strings.Repeat("a", maxLength+1): "longer",
	} {
		if _, err := Compile(expr); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%.40s: %v, want one that names %s", expr, err, say)
		}
	}
}

// Any expression that is read ends on any text, and its matches lie one behind the other, in whole characters.
func FuzzFind(f *testing.F) {
	for _, c := range readCases(f).Patterns {
		f.Add(c.Expr, c.Texts[len(c.Texts)-1])
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(expr) > 60 || len(text) > 60 {
			return
		}
		re, err := Compile(expr)
		if err != nil {
			return
		}
		left := 1 << 20
		last := 0
		err = re.Find(strings.ToValidUTF8(text, "?"), &left, func(i, j int) bool {
			if i < last || j < i {
				t.Fatalf("%q: a match from %d to %d behind one that ends at %d", text, i, j, last)
			}
			last = j
			return true
		})
		if err != nil && !errors.Is(err, ErrWork) {
			t.Error(err)
		}
	})
}

// allowed are the steps that a text may take.
func allowed(s string) *int {
	n := Steps(len(s))
	return &n
}
