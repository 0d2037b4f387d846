package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
)

// A haystack is a text that needles are hidden in.
type haystack struct {
	words []string // each with the white space behind it
	print string   // of the text
}

const (
	maxHaystack = 64 << 20 // bytes of text, far above what a context holds
	longestWord = 64       // bytes; what has no white space for so long is cut
)

// readHaystack reads a text file. note says what of it is not read as it stands.
func readHaystack(path string) (h *haystack, note string, err error) {
	text, note, err := datafile.ReadText(path, maxHaystack)
	if err != nil {
		return nil, "", err
	}
	if h = newHaystack(text); h == nil {
		return nil, "", errs.Dataf("%s: no words in it; give a text", path)
	}
	return h, note, nil
}

// newHaystack cuts a text into words; nil where it has none.
func newHaystack(text string) *haystack {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	text += "\n\n" // it may go round
	sum := sha256.Sum256([]byte(text))
	return &haystack{splitWords(text), hex.EncodeToString(sum[:8])}
}

// splitWords cuts a text into words with the white space behind them; joined they are the text again.
func splitWords(text string) (words []string) {
	begin, space := 0, false
	for i, r := range text {
		white := unicode.IsSpace(r)
		if space && !white || i-begin >= longestWord {
			words, begin = append(words, text[begin:i]), i
		}
		space = white
	}
	return append(words, text[begin:])
}

// from is the text as filler, beginning with the i-th word and going round and round.
func (h *haystack) from(i int) func(n int) []string {
	units := []string{}
	return func(n int) []string {
		for len(units) < n {
			k := (i + len(units)) % len(h.words)
			units = append(units, h.words[k:k+min(len(h.words)-k, n-len(units))]...)
		}
		return units[:n]
	}
}
