package plaintext

import (
	"fmt"
	"io"

	"longlora/internal/tokenizer"
)

// Read is the whole of a text that Reader reads, of at most limit bytes; a longer one is an error. Bytes that are no
// UTF-8 are replaced by U+FFFD; then note says so.
func Read(r io.Reader, limit int64) (text, note string, err error) {
	if r, err = Reader(r); err != nil {
		return "", "", err
	}
	return Whole(r, limit)
}

// Whole is like Read for what Reader has read already: the encoding is not looked at again.
func Whole(r io.Reader, limit int64) (text, note string, err error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d MiB of text; give a part of it", limit>>20)
	}
	return tokenizer.ReplaceInvalid(string(b)), Replaced(b), err
}
