package data

import (
	"fmt"
	"io"
	"sync/atomic"

	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

// ReadText is the whole of a plain text of at most limit bytes: UTF-8, or UTF-16 with a mark, compressed or not. Bytes
// that are no UTF-8 are replaced as training does. Files of records are refused.
func ReadText(path string, limit int64) (string, error) {
	if k, _ := kindOf(path); k == tokens || k.structured() {
		return "", errs.Dataf("%s: by its name no plain text; give a file of text alone", path)
	}
	was, err := look(path)
	if err != nil {
		return "", err
	}
	f, err := openFile(path, was, new(atomic.Int64), 0)
	if err != nil {
		return "", err
	}
	defer f.close()
	text, err := whole(f.r, limit)
	if err != nil {
		return "", f.fault(err)
	}
	return text, nil
}

// Plain gives a text as training reads it: UTF-8, or UTF-16 with a mark. Other encodings that can be told, and what is
// no text, are refused.
func Plain(r io.Reader) (io.Reader, error) { return utf8Reader(r) }

// PlainText is the whole of a text that Plain reads, of at most limit bytes.
func PlainText(r io.Reader, limit int64) (string, error) {
	r, err := Plain(r)
	if err != nil {
		return "", err
	}
	return whole(r, limit)
}

// whole is a text of at most limit bytes, of which those that are no UTF-8 are replaced.
func whole(r io.Reader, limit int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d MiB of text; give a part of it", limit>>20)
	}
	return tokenizer.ReplaceInvalid(string(b)), err
}
