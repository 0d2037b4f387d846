package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"longlora/internal/data/template"
	"longlora/internal/files"
)

// Identity is what tells one tokenizer from another: what it makes of a text.
type Identity struct {
	SHA256     string          `json:"sha256"`               // of tokenizer.json, else of tokenizer.model
	Configured string          `json:"configured,omitempty"` // of the tokens that other files add; "": none
	BOS        int32           `json:"bos"`                  // -1: none is added
	EOS        int32           `json:"eos"`                  // -1: none is known
	chat       string          // the chat template
	said       map[string]bool // what was noted of it, so that several sources note it once
}

// Identify reads what --template auto and prepared data want to know of the tokenizer in a model's folder; enc is nil
// where it is missing or cannot be used.
func Identify(dir string, enc Encoder) (*Identity, error) {
	id := &Identity{BOS: -1, EOS: -1, said: map[string]bool{}}
	if enc != nil {
		if b, ok := enc.BOS(); ok {
			id.BOS = b
		}
		if e, ok := enc.EOS(); ok {
			id.EOS = e
		}
		id.Configured = enc.Configured()
	}
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		f, err := files.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		_ = f.Close() // only read
		if err != nil {
			return nil, files.Fault(f.Name(), err)
		}
		id.SHA256 = hex.EncodeToString(h.Sum(nil))
		break
	}
	if enc == nil {
		return id, nil
	}
	var err error
	id.chat, err = template.ChatTemplate(dir)
	return id, err
}

// String names a tokenizer in a message.
func (id *Identity) String() string {
	more := ""
	if id.Configured != "" {
		more = fmt.Sprintf(", tokens of other files %.12s", id.Configured)
	}
	return fmt.Sprintf("sha256 %.12s%s, BOS %d, EOS %d", id.SHA256, more, id.BOS, id.EOS)
}
