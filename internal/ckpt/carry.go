package ckpt

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
)

const tokenizerConfig = "tokenizer_config.json"

// carried are the files beside the weights that a derived checkpoint keeps.
var carried = []string{"generation_config.json", "tokenizer.json", "tokenizer.model", tokenizerConfig,
	"special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "tekken.json", "chat_template.jinja", "chat_template.json"}

// templatesDir is where transformers writes chat templates beside the first.
const templatesDir = "additional_chat_templates"

// CanCarry says why CarryOver would fail, before any work is done.
func CanCarry(src string) error {
	_, err := toCarry(src)
	return err
}

// CarryOver copies generation_config.json and the tokenizer's files. Links are followed as far as the model's own files
// go: whoever made a checkpoint must not have other files of its user's copied into the next.
func CarryOver(dst, src string) error {
	names, err := toCarry(src)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n == tokenizerConfig {
			if done, err := carryTokenizerConfig(dst, src); done || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if dir := filepath.Dir(n); dir != "." {
			if err := files.MakeDir(filepath.Join(dst, dir)); err != nil {
				return err
			}
		}
		if err := files.CopyFile(filepath.Join(dst, n), filepath.Join(src, n)); err != nil {
			return err
		}
	}
	return nil
}

// toCarry lists the files that are there, relative to the model's folder, each a file and the model's own.
func toCarry(src string) ([]string, error) {
	names := slices.Clone(carried)
	for _, p := range files.Glob(src, templatesDir+"/*.jinja") {
		names = append(names, filepath.Join(templatesDir, filepath.Base(p)))
	}
	code, _, err := tokenizerCode(src)
	if err != nil {
		return nil, err
	}
	names = append(names, code...)
	there := names[:0]
	for _, n := range names {
		p := filepath.Join(src, n)
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		f, err := files.Open(p)
		if err != nil {
			return nil, err
		}
		f.Close()
		if !hub.Owns(src, p) {
			return nil, errs.Dataf("%s: a link out of the model's folder, which is not copied; put the file itself there, or "+
				"remove the link", p)
		}
		there = append(there, n)
	}
	return there, nil
}

// module is a Python file's name as auto_map writes it: "tokenization_x.XTokenizer".
var module = regexp.MustCompile(`^(\w+)\.\w+$`)

// tokenizerCode lists the Python files in the model's folder that auto_map of its tokenizer_config.json names, and says
// whether all of them are there. A class of another repository ("org/name--module.Class") needs none.
func tokenizerCode(src string) (names []string, whole bool, err error) {
	path := filepath.Join(src, tokenizerConfig)
	if !files.Exists(path) {
		return nil, true, nil
	}
	var raw map[string]any
	if err := files.ReadJSON(path, &raw); err != nil {
		return nil, false, err
	}
	entries, _ := raw["auto_map"].(map[string]any)
	found := map[string]bool{}
	whole = true
	for _, v := range entries {
		classes, ok := v.([]any)
		if !ok {
			classes = []any{v}
		}
		for _, c := range classes {
			s, ok := c.(string)
			if m := module.FindStringSubmatch(s); m != nil {
				n := m[1] + ".py"
				found[n] = true
				whole = whole && files.Exists(filepath.Join(src, n))
			} else if ok && !strings.Contains(s, "--") {
				whole = false
			}
		}
	}
	if !whole {
		return nil, false, nil
	}
	return slices.Sorted(maps.Keys(found)), true, nil
}

// carryTokenizerConfig writes tokenizer_config.json without its auto_map where that names code that is not there: with
// trust_remote_code transformers would look for it and fail. done is false where the file may be copied as it is.
func carryTokenizerConfig(dst, src string) (done bool, err error) {
	_, whole, err := tokenizerCode(src)
	if whole || err != nil {
		return false, err
	}
	var raw map[string]any
	if err := files.ReadJSON(filepath.Join(src, tokenizerConfig), &raw); err != nil {
		return false, err
	}
	delete(raw, "auto_map")
	return true, files.WriteJSON(filepath.Join(dst, tokenizerConfig), raw)
}

// Derived is config.json for a checkpoint made from this one: the same without auto_map, which names code in files of
// the base's folder (the model's class is transformers' own), and without quantization_config, because its weights are
// written as they are.
func (c *Config) Derived() map[string]any {
	raw := maps.Clone(c.Raw)
	delete(raw, "auto_map")
	delete(raw, "quantization_config")
	return raw
}
