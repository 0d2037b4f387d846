package tokenizer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dlclark/regexp2"
)

// The matchers written by hand and the translated expressions are independent of each other.
func TestKnownPatternsMatchAsTheirExpressionsDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("Aa1's/ \n\r\t!2tlLdMrevES_-") // then what is near a border of the classes
	alphabet = append(alphabet, 'ʰ', '中', '\u0301', 'ǅ', '²', 'Ⅷ', 'ſ', 'İ', '\u00a0', '\u0085', '\u3000', 'é', 'É', '\u200d', '🙂', '٣', '\U0002ebf0', '\u1c89', '½', ' ', '\n')
	for _, p := range []string{gpt2Pattern, llama3Pattern, qwen2Pattern, gpt4oPattern, tekkenPattern} {
		expr, err := translate(p)
		if err != nil {
			t.Fatal(err)
		}
		find, next := matches(regexp2.MustCompile(expr, regexp2.None)), known(p)
		for range 2000 {
			s := make([]rune, 1+rng.IntN(14))
			for i := range s {
				s[i] = alphabet[rng.IntN(len(alphabet))]
			}
			text := string(s)
			var want, got []int
			find(text, func(_, j int, _ bool) { want = append(want, j) })
			for i := 0; i < len(text); {
				i += next(text[i:])
				got = append(got, i)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q by %s: ends at %v, want %v", text, p, got, want)
			}
		}
	}
}

func TestSplitBehaviors(t *testing.T) {
	pieces := func(name string, invert bool) (out []string) {
		s, err := splitStep(literal("-"), name, invert)
		if err != nil {
			t.Fatal(err)
		}
		const text = "the-final--countdown-"
		s.find(text, func(i, j int) { out = append(out, text[i:j]) })
		return out
	}
	for name, want := range map[string][]string{
		"Removed":            {"the", "final", "countdown"},
		"Isolated":           {"the", "-", "final", "-", "-", "countdown", "-"},
		"MergedWithPrevious": {"the-", "final-", "-", "countdown-"},
		"MergedWithNext":     {"the", "-final", "-", "-countdown", "-"},
		"Contiguous":         {"the", "-", "final", "--", "countdown", "-"},
	} {
		if got := pieces(name, false); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := pieces("Removed", true); !slices.Equal(got, []string{"-", "-", "-", "-"}) {
		t.Errorf("inverted: %q", got)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, s := range []string{gpt2Pattern, gpt4oPattern, `[一-龥]+`, `(?<!a)b{2,3}?c*+`, `[^\s\p{L}-]`, `\p`, `[`, `(?i:a`, `a{,2}`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		expr, err := translate(s)
		if err != nil {
			return
		}
		re, err := regexp2.Compile(expr, regexp2.None)
		if err != nil {
			return // refused when it is loaded
		}
		re.MatchTimeout = 1e8
		_, _ = re.FindStringMatch("ab 12\n")
	})
}
