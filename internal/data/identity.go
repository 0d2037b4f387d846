package data

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Identity is what tells one tokenizer from another: what it makes of a text.
type Identity struct {
	SHA256 string `json:"sha256"` // of tokenizer.json, else of tokenizer.model
	BOS    int32  `json:"bos"`    // -1: none is added
	EOS    int32  `json:"eos"`    // -1: none is known
	chat   string // the chat template
}

// Identify reads what --template auto and prepared data want to know of the tokenizer in a model's folder; enc is nil
// where it is missing or cannot be used.
func Identify(dir string, enc Encoder) (*Identity, error) {
	id := &Identity{BOS: -1, EOS: -1}
	if enc != nil {
		if b, ok := enc.BOS(); ok {
			id.BOS = b
		}
		if e, ok := enc.EOS(); ok {
			id.EOS = e
		}
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
	id.chat, err = chatTemplate(dir)
	return id, err
}

// chatTemplate is the chat template of a model's folder, "" without any: a file of its own, or
// tokenizer_config.json's field, which is a text or a list of named ones.
func chatTemplate(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja"))
	if err == nil {
		return string(b), nil
	}
	for _, name := range []string{"tokenizer_config.json", "chat_template.json"} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", errs.Dataf("%w", err)
		}
		var f struct {
			Chat json.RawMessage `json:"chat_template"`
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return "", errs.Dataf("%s: %w", path, err)
		}
		var text string
		var named []struct{ Name, Template string }
		switch {
		case len(f.Chat) == 0 || string(f.Chat) == "null":
		case json.Unmarshal(f.Chat, &text) == nil:
			return text, nil
		case json.Unmarshal(f.Chat, &named) == nil:
			for i, n := range named {
				if i == 0 || n.Name == "default" {
					text = n.Template
				}
			}
			return text, nil
		default:
			return "", errs.Dataf("%s: chat_template is neither a text nor a list of named ones", path)
		}
	}
	return "", nil
}

// String names a tokenizer in a message.
func (id *Identity) String() string {
	return fmt.Sprintf("sha256 %.12s, BOS %d, EOS %d", id.SHA256, id.BOS, id.EOS)
}
