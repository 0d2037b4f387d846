package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The tokens that the files beside a tokenizer add to it, in the order and with the flags that transformers 5 gives
// them (PreTrainedTokenizerBase._from_pretrained and TokenizersBackend.__init__, version 5.17). The order matters: a
// token that the vocabulary lacks gets the next free id, whatever id a file says.

// namedTokens are the fields that name one special token each, in transformers' order.
var namedTokens = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

const (
	decoderField    = "added_tokens_decoder"
	extraField      = "extra_special_tokens"
	additionalField = "additional_special_tokens" // extraField's older name
	specificField   = "model_specific_special_tokens"
)

// tokens are what the configuration adds to a tokenizer whose own file lists the tokens own.
func (c *config) tokens(own []addedToken) ([]addedToken, error) {
	f := slices.Clone(c.fields)
	specific, f, err := takeSpecific(rename(f, additionalField, extraField))
	if err != nil {
		return nil, err
	}
	var table []addedToken
	if f.has(decoderField) {
		table, err = decoderTable(f)
	} else {
		if f, specific, err = c.overlay(f, specific); err == nil {
			table, err = c.addedFile(f, own)
		}
	}
	if err != nil {
		return nil, err
	}
	known := map[string]addedToken{} // by content
	for _, a := range table {
		known[a.Content] = a
	}
	named, err := c.named(rename(f, additionalField, extraField), specific, known)
	if err != nil {
		return nil, err
	}
	return unlisted(own, table, named), nil
}

// unlisted are the tokens of table, and of named those that are in neither list, that the tokenizer's own file does
// not list just so.
func unlisted(own, table, named []addedToken) []addedToken {
	last, seen := map[string]addedToken{}, map[string]bool{}
	for _, a := range own { // the last of the same content counts
		last[a.Content] = a
		seen[a.Content] = true
	}
	var out []addedToken
	for _, a := range table {
		if b, ok := last[a.Content]; !ok || !a.like(b) {
			out = append(out, a)
			seen[a.Content] = true
		}
	}
	for _, a := range named {
		if !seen[a.Content] {
			out = append(out, a)
			seen[a.Content] = true
		}
	}
	return out
}

// rename gives the field from the name to, unless there is one.
func rename(f object, from, to string) object {
	if !f.has(from) || f.has(to) {
		return f
	}
	for i := range f {
		if f[i].name == from {
			f[i].name = to
		}
	}
	return f
}

// takeSpecific takes out of the fields those that name a token of this model alone: xyz_token, and those in a table of
// extra tokens.
func takeSpecific(f object) (specific, rest object, err error) {
	specific, err = objectOf(f, specificField)
	if err != nil {
		return nil, nil, err
	}
	var own object
	for _, m := range f {
		if isSpecific(m) {
			own = append(own, m)
		}
	}
	more, err := objectOf(f, extraField)
	if err != nil {
		return nil, nil, err
	}
	if own = (object{}).with(own).with(more); len(own) > 0 {
		specific = own
	}
	return specific, f.without(func(m member) bool { return isSpecific(m) || m.name == extraField && isObject(m.value) }),
		nil
}

// isSpecific tells a field like image_token whose value is a text.
func isSpecific(m member) bool {
	return strings.HasSuffix(m.name, "_token") && !slices.Contains(namedTokens, m.name) && bytes.HasPrefix(m.value,
		[]byte{'"'})
}

func isObject(v json.RawMessage) bool { return bytes.HasPrefix(v, []byte{'{'}) }

// objectOf is a field that is a table, nil where it is none.
func objectOf(f object, name string) (object, error) {
	for _, m := range f {
		if m.name == name && isObject(m.value) {
			o, err := parseObject(m.file, m.value)
			if err != nil {
				return nil, m.fault("%w", err)
			}
			return o, nil
		}
	}
	return nil, nil
}

// overlay lays special_tokens_map.json over the fields, which counts only where no decoder lists the added tokens.
func (c *config) overlay(f, specific object) (object, object, error) {
	special := slices.Clone(c.special)
	for i, m := range special {
		if m.name == extraField && bytes.HasPrefix(m.value, []byte{'['}) {
			list, err := listOf(f, extraField)
			if err != nil {
				return nil, nil, err
			}
			more, err := listOf(object{m}, extraField)
			if err != nil {
				return nil, nil, err
			}
			if special[i].value, err = json.Marshal(append(list, more...)); err != nil {
				return nil, nil, err
			}
		}
	}
	f = f.with(special)
	more, err := objectOf(f, extraField)
	if err != nil || more == nil {
		return f, specific, err
	}
	specific = specific.with(more)
	return f.without(func(m member) bool { return m.name == extraField }), specific, nil
}

// listOf is a field that is a list, nil where it is absent.
func listOf(f object, name string) (list []json.RawMessage, err error) {
	for _, m := range f {
		if m.name == name && !null(m.value) && json.Unmarshal(m.value, &list) != nil {
			return nil, m.fault("must be a list of tokens or a table of named ones")
		}
	}
	return list, nil
}

// decoderTable reads the table of added tokens by id, in the order of the ids.
func decoderTable(f object) (list []addedToken, err error) {
	for _, m := range f {
		if m.name != decoderField || null(m.value) {
			continue
		}
		var table map[string]json.RawMessage
		if err := json.Unmarshal(m.value, &table); err != nil {
			return nil, m.fault("must be a table of objects by id")
		}
		for _, key := range slices.Sorted(maps.Keys(table)) {
			raw := table[key]
			id, err := strconv.ParseInt(key, 10, 32)
			if err != nil || id < 0 || id > maxID {
				return nil, m.fault("%q is no id of a token", key)
			}
			a, err := parseToken(raw)
			if err != nil || !isObject(raw) {
				return nil, m.fault("%s must be an object with content", key)
			}
			a.ID, a.file = int32(id), m.file
			list = append(list, a)
		}
	}
	sortByID(list)
	return list, nil
}

func sortByID(list []addedToken) {
	slices.SortStableFunc(list, func(x, y addedToken) int { return cmp.Compare(x.ID, y.ID) })
}

// addedFile reads added_tokens.json, ids by content, together with the tokens that the tokenizer's own file lists: one
// of those has the place of the other's with its id.
func (c *config) addedFile(f object, own []addedToken) ([]addedToken, error) {
	special := map[string]bool{}
	for _, name := range namedTokens {
		if v := f.get(name); v != nil {
			if a, err := parseToken(v); err == nil {
				special[a.Content] = true
			}
		}
	}
	extra, err := listOf(f, extraField)
	if err != nil {
		return nil, err
	}
	for _, v := range extra {
		if a, err := parseToken(v); err == nil {
			special[a.Content] = true
		}
	}
	byID := map[int32]addedToken{}
	for _, m := range c.added {
		var id int32
		if err := json.Unmarshal(m.value, &id); err != nil || id < 0 || id > maxID {
			return nil, m.fault("must have the id of that token")
		}
		byID[id] = addedToken{ID: id, Content: m.name, Normalized: !special[m.name], Special: special[m.name], file: m.file}
	}
	for _, a := range own {
		byID[a.ID] = a
	}
	var list []addedToken
	for _, a := range byID {
		list = append(list, a)
	}
	sortByID(list)
	return list, nil
}

// named are the tokens that fields name: the seven that every tokenizer may have, those of this model alone, then the
// list of extra ones. One that known lists has that one's flags.
func (c *config) named(f, specific object, known map[string]addedToken) ([]addedToken, error) {
	var members object
	for _, name := range namedTokens {
		for _, m := range f {
			if m.name == name {
				members = append(members, m)
			}
		}
	}
	models := object{}
	for _, m := range f {
		if isSpecific(m) {
			models = append(models, m)
		}
	}
	members = append(members, (object{}).with(models).with(specific)...)
	extra, err := listOf(f, extraField)
	if err != nil {
		return nil, err
	}
	for _, v := range extra {
		members = append(members, member{name: extraField, value: v, file: c.path})
	}
	var out []addedToken
	for _, m := range members {
		if null(m.value) {
			continue
		}
		a, err := parseToken(m.value)
		if err != nil {
			return nil, m.fault("%w", err)
		}
		if b, ok := known[a.Content]; ok && slices.Contains(namedTokens, m.name) {
			a = b
		}
		a.ID, a.file = -1, m.file
		out = append(out, a)
	}
	return out, nil
}

// parseToken reads a token that is a text, then special and not normalized, or an object with flags.
func parseToken(raw json.RawMessage) (addedToken, error) {
	a := addedToken{ID: -1, Special: true}
	if json.Unmarshal(raw, &a.Content) == nil {
		return a, nil
	}
	var f struct {
		addedToken
		Normalized *bool `json:"normalized"`
	}
	if err := json.Unmarshal(raw, &f); err != nil || f.Content == "" {
		return a, errors.New("must be a text or an object with content")
	}
	a = f.addedToken
	a.ID, a.Normalized = -1, !a.Special
	if f.Normalized != nil {
		a.Normalized = *f.Normalized
	}
	return a, nil
}
