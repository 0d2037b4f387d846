package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// config is what tokenizer_config.json and the files beside it have to say.
type config struct {
	path      string
	fields    object // of tokenizer_config.json
	special   object // of special_tokens_map.json
	added     object // of added_tokens.json
	bos, eos  string // "": not said
	addBOS    bool
	addPrefix bool // add_prefix_space, true unless it is false
	legacy    bool // true unless it is false
	split     bool // split_special_tokens
}

// configLimit is the length in bytes that no file beside a tokenizer has: tables of a thousand tokens take some
// 100 KB.
const configLimit = 64 << 20

// readConfig reads tokenizer_config.json and the files beside it; a missing file is an empty one.
func readConfig(dir string) (config, error) {
	c := config{path: filepath.Join(dir, "tokenizer_config.json"), addBOS: true, addPrefix: true, legacy: true}
	for name, o := range map[string]*object{"tokenizer_config.json": &c.fields, "special_tokens_map.json": &c.special,
		"added_tokens.json": &c.added} {
		path := filepath.Join(dir, name)
		blob, err := files.Read(path, configLimit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			if *o, err = parseObject(path, blob); err != nil {
				err = files.NotJSON(path, blob, err)
			}
		}
		if err != nil {
			return c, err
		}
	}
	if err := c.parse(); err != nil {
		return c, errs.Dataf("%s: %w", c.path, err)
	}
	return c, nil
}

func (c *config) parse() error {
	for name, p := range map[string]*bool{"add_bos_token": &c.addBOS, "add_prefix_space": &c.addPrefix,
		"legacy": &c.legacy, "split_special_tokens": &c.split} {
		if v := c.fields.get(name); v != nil {
			if err := json.Unmarshal(v, p); err != nil {
				return errors.New(name + " must be true or false")
			}
		}
	}
	for _, of := range []struct {
		name string
		text *string
	}{{"bos_token", &c.bos}, {"eos_token", &c.eos}} {
		if v := c.fields.get(of.name); v != nil {
			a, err := parseToken(v)
			if err != nil {
				return fmt.Errorf("%s %w", of.name, err)
			}
			*of.text = a.Content
		}
	}
	return nil
}

// checkBOS notes where tokenizer_config.json asks for something else than tokenizer.json does. transformers 4 follows
// the former for LLaMA's tokenizers, transformers 5 the latter.
func (t *Tokenizer) checkBOS(c config) {
	v := c.fields.get("add_bos_token")
	if v == nil || filepath.Base(t.path) != "tokenizer.json" || c.addBOS == (len(t.prefix) > 0) {
		return
	}
	does := "puts none"
	if len(t.prefix) > 0 {
		does = "puts one"
	}
	t.note("%s: add_bos_token is %s, but tokenizer.json %s in front of a text, and that counts, as in transformers 5; "+
		"transformers 4 may do otherwise", c.path, v, does)
}

// findEOS applies the rule of Load.
func (t *Tokenizer) findEOS(c config, cfgEOS []int) error {
	switch {
	case c.eos != "":
		t.eos, _ = t.ID(c.eos) // it is among the tokens that the configuration adds
	case t.eos < 0 && len(cfgEOS) > 0:
		t.eos = int32(cfgEOS[0])
	}
	v := c.special.get("eos_token")
	if v == nil || c.fields.has("added_tokens_decoder") || t.eos < 0 {
		return nil
	}
	a, err := parseToken(v)
	if err != nil {
		return errs.Dataf("%s: eos_token %w", filepath.Join(t.dir, "special_tokens_map.json"), err)
	}
	if id, ok := t.ID(a.Content); !ok || id != t.eos {
		t.note("%s: its eos_token %q is not used; token %d ends documents", filepath.Join(t.dir, "special_tokens_map.json"),
			a.Content, t.eos)
	}
	return nil
}
