package ckpt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// tokenRows is PEFT's trainable_token_indices: the rows of embedding or head that were trained, and nothing else of
// them.
type tokenRows map[string][]int // by the end of a module's name; "" is the embedding

const tokensField = "trainable_token_indices"

func readTokenRows(f *fields) tokenRows {
	v := f.raw[tokensField]
	if !means(v) {
		return nil
	}
	if _, ok := v.([]any); ok {
		return tokenRows{"": f.wholes(tokensField, v)}
	}
	by, ok := v.(map[string]any)
	if !ok {
		f.fail(tokensField, "%s is neither a list of token ids nor an object of such lists", errs.Shown(v))
	}
	t := tokenRows{}
	for name, ids := range by {
		if name == "" {
			f.fail(tokensField, "a list of token ids without a module's name")
		}
		if means(ids) {
			t[name] = f.wholes(tokensField+"."+name, ids)
		}
	}
	return t
}

// of are the rows of a module; named is false where the field says nothing of it.
func (t tokenRows) of(module string, m Layout) (ids []int, named bool) {
	if ids, ok := t[""]; ok {
		return ids, module == moduleOf(m.embed())
	}
	other := m.other(module)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasSuffix(module, name) || other != "" && strings.HasSuffix(other, name) {
			return t[name], true
		}
	}
	return nil, false
}

// unknown is a name of the field's that is neither the embedding's nor the head's; "" where all are.
func (t tokenRows) unknown(m Layout) string {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		alone := tokenRows{name: nil}
		_, embed := alone.of(moduleOf(m.embed()), m)
		if _, head := alone.of(moduleOf(m.head()), m); !embed && !head {
			return name
		}
	}
	return ""
}

// fitTokens puts rows that were trained alone among those of the base's. Where the base has one tensor for embedding
// and head, both have them, unless the field names the head alone, or other rows of each.
func (a *Adapter) fitTokens(m Layout) (notes []string, err error) {
	embed, head := moduleOf(m.embed()), moduleOf(m.head())
	if name := a.Config.tokens.unknown(m); name != "" {
		return nil, errs.Dataf("%s: %s: %q is neither the embedding (%s) nor the head (%s)", a.Config.Path, tokensField, name,
			embed, head)
	}
	rows := map[string][]int{}
	for _, module := range []string{embed, head} {
		if ids, named := a.Config.tokens.of(module, m); named {
			rows[module] = ids
		}
	}
	_, embedded := rows[embed]
	if m.Tied && embedded && (len(rows) == 1 || slices.Equal(rows[embed], rows[head])) {
		if err := a.oneForBoth(embed, head); err != nil {
			return nil, err
		}
		delete(rows, head)
	}
	_, headed := rows[head]
	a.apart = m.Tied && headed
	for _, module := range slices.Sorted(maps.Keys(rows)) {
		note, err := a.placeTokens(module, rows[module], m)
		if err != nil {
			return nil, err
		}
		notes = append(notes, note...)
	}
	for _, module := range slices.Sorted(maps.Keys(a.tokens)) {
		t := a.tokens[module]
		return nil, errs.Dataf("%s: tensor %s: %s of %s does not name %s", t.File, t.Name, tokensField,
			rundir.AdapterConfigFile, module)
	}
	return notes, nil
}

// oneForBoth leaves of two tied modules the embedding's rows, and of the base beside them its one tensor.
func (a *Adapter) oneForBoth(embed, head string) error {
	for _, both := range []struct {
		ts   map[string]Tensor
		e, h string
	}{{a.tokens, embed, head}, {a.bases, embed + ".weight", head + ".weight"}} {
		e, hasE := both.ts[both.e]
		h, hasH := both.ts[both.h]
		if hasE && hasH && !Equal(e, h) {
			return errs.Dataf("%s: tensors %s and %s are one module's and have different values", e.File, e.Name, h.Name)
		}
		if hasH && !hasE {
			both.ts[both.e] = h
		}
		delete(both.ts, both.h)
	}
	return nil
}

// placeTokens makes the tensor of a module of which some rows were trained.
func (a *Adapter) placeTokens(module string, ids []int, m Layout) (notes []string, err error) {
	name := module + ".weight"
	t, ok := a.tokens[module]
	if !ok {
		return nil, errs.Dataf("%s: %s%strainable_tokens_delta is missing, though %s of %s names it: the adapter is not "+
			"whole, or of another model", a.Files[0], module, tokenPart, tokensField, rundir.AdapterConfigFile)
	}
	s := m.Shapes[name]
	if !t.Shape.Equal(tensor.Shape{len(ids), s[1]}) {
		return nil, errs.Dataf("%s: tensor %s has shape %v where %s of %s has %d ids, and the model rows of %d", t.File,
			t.Name, t.Shape, tokensField, rundir.AdapterConfigFile, len(ids), s[1])
	}
	if i := slices.IndexFunc(ids, func(id int) bool { return id < 0 }); i >= 0 {
		return nil, errs.Dataf("%s: %s: %d is no token", a.Config.Path, tokensField, ids[i])
	}
	if was, ok := a.Saved[name]; ok {
		return nil, errs.Dataf("%s: tensor %s: %s names rows of it, and it is there whole too", was.File, was.Name,
			tokensField)
	}
	if most := slices.Max(ids); most >= s[0] {
		notes = append(notes, fmt.Sprintf("%s: %s of %s up to token %d are beyond the base's vocabulary of %d and are "+
			"dropped", t.File, tokensField, name, most, s[0]))
	}
	delete(a.tokens, module)
	under, held := a.under(name, m)
	a.Saved[name] = under.patch(t, ids)
	a.Saved[name].patched.bare = !held
	delete(a.bases, name)
	return notes, nil
}

// under is the base's tensor, some rows of which the adapter's take the place of: that which was trained beside where
// the file has it. held is false where no weights are at hand.
func (a *Adapter) under(name string, m Layout) (t Tensor, held bool) {
	if t, ok := a.bases[name]; ok {
		return t, true
	}
	names := []string{name}
	if m.Tied {
		names = append(names, m.embed())
	}
	for _, n := range names {
		if m.Tensor == nil {
			break
		}
		if t, ok := m.Tensor(n); ok {
			return t, true
		}
	}
	return FromFloats(name, m.Shapes[name], nil), false
}
