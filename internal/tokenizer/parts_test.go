package tokenizer

import (
	"slices"
	"testing"
)

// A text encoded in parts has the ids of the whole, cut wherever Parts allows it.
func TestParts(t *testing.T) {
	const text = "The quick brown fox, it's said: x = a b c\n\n  over  12 345 é à la carte</s> and so on 日本語 a\u0301 b don't STOP me now!! end of it"
	tk := load(t, func(map[string]any) {})
	drop, ok := tk.Parts()
	if drop || !ok {
		t.Fatalf("byte-level: drop %v, ok %v", drop, ok)
	}
	whole := encode(t, tk, text)
	cuts := 0
	for i := range text {
		if !beforeWord(text, i) || i == 0 {
			continue
		}
		cuts++
		if got := append(encode(t, tk, text[:i]), encode(t, tk, text[i:])...); !slices.Equal(got, whole) {
			t.Errorf("cut at %q", text[i:])
		}
	}
	if cuts < 10 {
		t.Errorf("%d cuts", cuts)
	}
	stripping := load(t, func(d map[string]any) {
		for _, a := range d["added_tokens"].([]any) {
			a.(map[string]any)["rstrip"] = true
		}
	})
	if _, ok := stripping.Parts(); ok {
		t.Error("a token that takes the white space behind it allows no cut")
	}
}
