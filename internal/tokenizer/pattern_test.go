package tokenizer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"longlora/internal/tokenizer/onig"
)

// The matchers written by hand and the expressions are independent of each other.
func TestKnownPatternsMatchAsTheirExpressionsDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("Aa1's/ \n\r\t!2tlLdMrevES_-") // then what is near a border of the classes
	alphabet = append(alphabet, 'ʰ', '中', '\u0301', 'ǅ', '²', 'Ⅷ', 'ſ', 'İ', '\u00a0', '\u0085', '\u3000', 'é', 'É', '\u200d', '🙂', '٣', '\U0002ebf0', '\u1c89', '½', ' ', '\n')
	for _, p := range []string{gpt2Pattern, llama3Pattern, qwen2Pattern, gpt4oPattern, tekkenPattern} {
		re, err := onig.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		find, next := matches(p, re), known(p)
		for range 2000 {
			runes := make([]rune, 1+rng.IntN(14))
			for i := range runes {
				runes[i] = alphabet[rng.IntN(len(alphabet))]
			}
			s := string(runes)
			var want, got []int
			if err := find(text{s: s, bound: newBound(len(s))}, func(_, j int, _ bool) { want = append(want, j) }); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(s); {
				i += next(s[i:])
				got = append(got, i)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q by %s: ends at %v, want %v", s, p, got, want)
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
		const final = "the-final--countdown-"
		if err := s.find(text{s: final}, func(i, j int) { out = append(out, final[i:j]) }); err != nil {
			t.Fatal(err)
		}
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
