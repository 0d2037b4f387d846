package load

import (
	"encoding/json"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

// Documents completes how documents are read by what encoding them for a model needs: its tokenizer, where there is
// one. dir is the model's folder, vocab and eos what its config.json says.
func Documents(dir string, vocab int, eos []int, o data.Options) (data.Options, *tokenizer.Tokenizer, error) {
	o.Vocab = vocab
	tok, err := tokenizer.Load(dir, eos)
	if o.NoEncoder = err; err != nil { // token ids need none; prepared ones want to know that it is the same
		o.Tokenizer, err = data.Identify(dir, nil)
		return o, nil, err
	}
	if err := tok.AddBOS(o.AddBOS); err != nil {
		return o, nil, err
	}
	o.Encoder = tok
	o.Tokenizer, err = data.Identify(dir, tok)
	return o, tok, err
}

// TokenizerOf finds what encoding needs of a model's folder, which may hold nothing else: config.json's vocab_size and
// eos_token_id, whatever the architecture.
func TokenizerOf(name string) (dir string, vocab int, eos []int, err error) {
	if dir, err = ckpt.Resolve(name); err != nil {
		return "", 0, nil, err
	}
	path := filepath.Join(dir, "config.json")
	var c struct {
		Vocab *float64        `json:"vocab_size"`
		EOS   json.RawMessage `json:"eos_token_id"`
	}
	if err := ckpt.ReadConfigAs(dir, &c); err != nil {
		return "", 0, nil, err
	}
	const most = 1 << 24
	if c.Vocab == nil || *c.Vocab < 1 || *c.Vocab > most || *c.Vocab != float64(int(*c.Vocab)) {
		return "", 0, nil, errs.Dataf("%s: vocab_size is missing or not a whole number from 1 to %d", path, most)
	}
	if len(c.EOS) > 0 && string(c.EOS) != "null" {
		one := -1
		if json.Unmarshal(c.EOS, &one) == nil {
			eos = []int{one}
		} else if err := json.Unmarshal(c.EOS, &eos); err != nil {
			return "", 0, nil, errs.Dataf("%s: eos_token_id: %.80s is neither a token nor a list of tokens", path, c.EOS)
		}
	}
	return dir, int(*c.Vocab), eos, nil
}
