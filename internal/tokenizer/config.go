package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"longlora/internal/errs"
)

// config is what tokenizer_config.json and the files beside it have to say.
type config struct {
	path      string
	eos       string       // "": not said
	special   []addedToken // the tokens it names
	added     []addedToken // added_tokens_decoder, else added_tokens.json: for tokenizer.model, by id
	chat      string       // chat template
	addBOS    bool
	addPrefix bool // add_prefix_space, true unless it is false
	legacy    bool // true unless it is false
}

// specialFields are the named special tokens, in transformers' order.
var specialFields = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// readConfig reads tokenizer_config.json; a missing file is an empty one.
func readConfig(dir string) (config, error) {
	c := config{path: filepath.Join(dir, "tokenizer_config.json"), addBOS: true, addPrefix: true, legacy: true}
	blob, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, errs.Dataf("cannot read the tokenizer's configuration: %v", err)
	}
	if err == nil {
		if err := c.parse(blob); err != nil {
			return c, errs.Dataf("%s: %w", c.path, err)
		}
	}
	if blob, err := os.ReadFile(filepath.Join(dir, "added_tokens.json")); err == nil && c.added == nil {
		var ids map[string]int32
		if err := json.Unmarshal(blob, &ids); err != nil {
			return c, errs.Dataf("%s: %w", filepath.Join(dir, "added_tokens.json"), err)
		}
		for s, id := range ids {
			c.added = append(c.added, addedToken{ID: id, Content: s})
		}
	}
	slices.SortFunc(c.added, func(x, y addedToken) int { return cmp.Compare(x.ID, y.ID) })
	return c, nil
}

func (c *config) parse(blob []byte) error {
	var f map[string]json.RawMessage
	if err := json.Unmarshal(blob, &f); err != nil {
		return err
	}
	for name, p := range map[string]*bool{"add_bos_token": &c.addBOS, "add_prefix_space": &c.addPrefix, "legacy": &c.legacy} {
		if !null(f[name]) {
			if err := json.Unmarshal(f[name], p); err != nil {
				return errors.New(name + " must be true or false")
			}
		}
	}
	for _, name := range specialFields {
		if null(f[name]) {
			continue
		}
		a, err := specialToken(f[name])
		if err != nil {
			return errors.New(name + " must be a string or an object with content")
		}
		if name == "eos_token" {
			c.eos = a.Content
		}
		c.special = append(c.special, a)
	}
	for _, name := range []string{"additional_special_tokens", "extra_special_tokens"} {
		var list []json.RawMessage
		if json.Unmarshal(f[name], &list) != nil {
			continue // absent, or a table of names for models of other kinds
		}
		for _, raw := range list {
			a, err := specialToken(raw)
			if err != nil {
				return errors.New(name + " must hold strings or objects with content")
			}
			c.special = append(c.special, a)
		}
	}
	var decoder map[int32]addedToken
	if !null(f["added_tokens_decoder"]) {
		if err := json.Unmarshal(f["added_tokens_decoder"], &decoder); err != nil {
			return errors.New("added_tokens_decoder must be a table of objects by id")
		}
	}
	for id, a := range decoder {
		a.ID = id
		c.added = append(c.added, a)
	}
	return nil
}

// specialToken reads a token that is a string or an object.
func specialToken(raw json.RawMessage) (addedToken, error) {
	a := addedToken{Special: true}
	if json.Unmarshal(raw, &a.Content) == nil {
		return a, nil
	}
	if err := json.Unmarshal(raw, &a); err != nil || a.Content == "" {
		return a, errors.New("no token")
	}
	a.Special = true
	return a, nil
}

// missing are the special tokens of the configuration that the vocabulary holds but the tokenizer's own file does not
// list as added: transformers parses those too. One that the vocabulary does not hold is left alone; no model has
// a row for it.
func (c *config) missing(t *Tokenizer) []addedToken {
	var out []addedToken
	for _, a := range c.special {
		if _, ok := t.ids[a.Content]; ok {
			continue
		}
		if _, ok := t.model.vocab[a.Content]; ok {
			out = append(out, a)
		}
	}
	return out
}

// findEOS applies the rule of Load.
func (t *Tokenizer) findEOS(c config, cfgEOS []int) error {
	switch {
	case c.eos != "":
		id, ok := t.ID(c.eos)
		if !ok {
			return errs.Dataf("%s: eos_token %q is not in the tokenizer's vocabulary; correct the field or add the token", c.path, c.eos)
		}
		t.eos = id
	case t.eos < 0 && len(cfgEOS) > 0:
		t.eos = int32(cfgEOS[0])
	}
	return nil
}
