package ckpt

import (
	"fmt"
	"maps"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// Layout is the model that an adapter is fitted to.
type Layout struct {
	Shapes map[string]tensor.Shape                // of every tensor, the head's too where it is the embedding
	Tied   bool                                   // the head is the embedding
	Family *model.Arch                            // LLaMA where nil
	Tensor func(name string) (t Tensor, has bool) // the weights; nil where they are not at hand
}

// embed and head are the names of the tensors that a tied model has as one.
func (m Layout) embed() string { return model.Desc{Arch: m.Family}.EmbedName() }
func (m Layout) head() string  { return model.Desc{Arch: m.Family}.HeadName() }

// other is another name of a module, which PEFT may have in its files and configuration; "" where there is none.
func (m Layout) other(module string) string {
	if d := (model.Desc{Arch: m.Family}); module == moduleOf(d.HeadName()) {
		return d.HeadModule()
	}
	return ""
}

// is reports whether a tensor has the base's values.
func (m Layout) is(name string, t Tensor) bool {
	if m.Tensor == nil {
		return false
	}
	b, ok := m.Tensor(name)
	return ok && Equal(b, t)
}

// matrix is the shape of a module's weight; ok is false where there is none that factors can change.
func (m Layout) matrix(module string) (s tensor.Shape, ok bool) {
	s = m.Shapes[module+".weight"]
	return s, len(s) == 2
}

// Fit checks that the adapter is of this model, and whole: each of its tensors has its place, and what
// adapter_config.json names is there. Rows of embedding and head beyond the vocabulary are cut; the notes say it. What
// PEFT computes where the base has one tensor for both is settled here: see tie.
func (a *Adapter) Fit(m Layout) (notes []string, err error) {
	notes = a.Config.Notes
	if err := a.rename(m); err != nil {
		return nil, err
	}
	for _, module := range slices.Sorted(maps.Keys(a.LoRA)) {
		note, err := a.fitFactors(module, m)
		if err != nil {
			return nil, err
		}
		notes = append(notes, note...)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Saved)) {
		t, cut, err := fit(a.Saved[name], name, m)
		if err != nil {
			return nil, err
		}
		if a.Saved[name] = t; cut != "" {
			notes = append(notes, cut)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.bases)) {
		if a.bases[name], _, err = fit(a.bases[name], name, m); err != nil {
			return nil, err
		}
	}
	if err := a.complete(m); err != nil {
		return nil, err
	}
	cut, err := a.fitTokens(m)
	if err != nil {
		return nil, err
	}
	notes = append(notes, cut...)
	for _, name := range slices.Sorted(maps.Keys(a.bases)) {
		if m.is(name, a.bases[name]) {
			delete(a.bases, name)
		} else if _, ok := a.Saved[name]; !ok && !m.Tied {
			a.Saved[name] = a.bases[name]
		}
	}
	if m.Tied {
		err = a.tie(m)
	}
	if len(a.LoRA) == 0 && len(a.Saved) == 0 && err == nil {
		err = errs.Dataf("%s: holds no tensor of an adapter", a.Files[0])
	}
	return notes, err
}

// rename gives the head the name that it has on disk. PEFT knows a tied embedding by LLaMA's names alone: where
// adapter_config.json has none of them, ensure_weight_tying does nothing there.
func (a *Adapter) rename(m Layout) error {
	head := moduleOf(m.head())
	other := m.other(head)
	if other == "" {
		return nil
	}
	if !a.Config.Saves(other) && !a.Config.targeted(other) {
		a.Config.KeepTie = false
	}
	if t, ok := a.tokens[other]; ok {
		a.tokens[head] = t
		delete(a.tokens, other)
	}
	for _, ts := range []map[string]Tensor{a.Saved, a.bases} {
		t, ok := ts[other+".weight"]
		if !ok {
			continue
		}
		if was, both := ts[m.head()]; both && !Equal(was, t) {
			return errs.Dataf("%s: tensors %s and %s are one module's and have different values", t.File, t.Name, was.Name)
		}
		ts[m.head()] = t
		delete(ts, other+".weight")
	}
	if f, ok := a.LoRA[other]; ok {
		if _, both := a.LoRA[head]; both {
			return errs.Dataf("%s: %s and %s are one module, and both have factors", f.A.File, other, head)
		}
		a.LoRA[head] = f
		delete(a.LoRA, other)
	}
	return nil
}

// saves and targeted are what the configuration says of a module, by any name of it.
func (a *Adapter) saves(module string, m Layout) bool {
	other := m.other(module)
	return a.Config.Saves(module) || other != "" && a.Config.Saves(other)
}

func (a *Adapter) targeted(module string, m Layout) bool {
	other := m.other(module)
	return a.Config.targeted(module) || other != "" && a.Config.targeted(other)
}

// fit checks a tensor that takes the place of one of the model's.
func fit(t Tensor, name string, m Layout) (_ Tensor, note string, err error) {
	s, ok := m.Shapes[name]
	if !ok {
		return t, "", errs.Dataf("%s: tensor %s is not one of the model's: the adapter is of another one", t.File, t.Name)
	}
	if isEnd(name) && len(t.Shape) == 2 && t.Shape[1] == s[1] {
		switch {
		case t.Shape[0] > s[0]:
			return t.Rows(s[0]), cutNote(t.File, name, s[0], t.Shape[0]), nil
		case t.Shape[0] < s[0]:
			return t, "", errs.Dataf("%s: tensor %s has %d rows, the model's vocabulary %d: the adapter was trained on a "+
				"smaller one", t.File, t.Name, t.Shape[0], s[0])
		}
	}
	if !t.Shape.Equal(s) {
		return t, "", errs.Dataf("%s: tensor %s has shape %v, the model's is %v: the adapter is of another model",
			t.File, t.Name, t.Shape, s)
	}
	return t, "", nil
}

func cutNote(file, name string, from, to int) string {
	return fmt.Sprintf("%s: rows %d to %d of %s are beyond the base's vocabulary and are dropped", file, from, to-1, name)
}

// fitFactors checks a module's factors.
func (a *Adapter) fitFactors(module string, m Layout) (notes []string, err error) {
	f, name := a.LoRA[module], module+".weight"
	s, ok := m.matrix(module)
	if !ok {
		return nil, errs.Dataf("%s: %s is no linear layer of the model: the adapter is of another one", f.A.File, module)
	}
	if f.Embedding != isEmbed(name) {
		return nil, errs.Dataf("%s: %s: %s is not how factors of that layer are named", f.A.File, module, f.A.Name)
	}
	out, in, length := f.B.Shape[0], f.A.Shape[1], s[0]
	if f.Embedding {
		out, in, length = in, out, s[1]
	}
	if in != s[1] || out != s[0] && !(isEnd(name) && out > s[0]) {
		return nil, errs.Dataf("%s: %s: lora_A %v and lora_B %v do not fit the model's weight %v: the adapter is of "+
			"another model", f.A.File, module, f.A.Shape, f.B.Shape, s)
	}
	if out > s[0] {
		notes = append(notes, cutNote(f.B.File, name, s[0], out))
		if full, ok := a.bases[name]; ok && full.Shape.Equal(tensor.Shape{out, in}) {
			f.Full = full
		}
		switch {
		case !f.Embedding:
			f.B, length = f.B.Rows(s[0]), out
		case a.Config.DoRA && f.Full.Name == "":
			return nil, errs.Dataf("%s: use_dora: %s has rows beyond the model's vocabulary, and its base_layer, whose "+
				"lengths they count for, is not in the file", a.Config.Path, module)
		}
	}
	if g := f.Magnitude; g.Name != "" {
		if !g.Shape.Equal(tensor.Shape{length}) {
			return nil, errs.Dataf("%s: tensor %s has shape %v where [%d] is wanted: the adapter is of another model",
				g.File, g.Name, g.Shape, length)
		}
		if !f.Embedding {
			f.Magnitude = g.Rows(s[0])
		}
	}
	a.LoRA[module] = f
	return notes, nil
}

// complete checks that the adapter has all that adapter_config.json names, and no factors that it does not name.
func (a *Adapter) complete(m Layout) error {
	c := a.Config
	for _, name := range slices.Sorted(maps.Keys(m.Shapes)) {
		module := moduleOf(name)
		if _, ok := a.Saved[name]; !ok && a.saves(module, m) && !(c.KeepTie && m.Tied && isEnd(name)) {
			return errs.Dataf("%s: tensor %s is missing, though modules_to_save of %s names it: the adapter is not whole, or "+
				"of another model", a.Files[0], name, rundir.AdapterConfigFile)
		}
		_, has := a.LoRA[module]
		if _, ok := m.matrix(module); !ok || !c.targets.given {
			continue
		}
		switch wanted := a.targeted(module, m); {
		case c.match.f.err != nil:
			return c.match.f.err
		case wanted && !has:
			return errs.Dataf("%s: the factors lora_A and lora_B of %s are missing, though target_modules of %s names it: "+
				"the adapter is not whole, or of another model", a.Files[0], module, rundir.AdapterConfigFile)
		case has && !wanted && !(c.KeepTie && m.Tied && name == m.head()): // PEFT takes a tied head out of target_modules
			return errs.Dataf("%s: %s %s, of which %s has factors", c.Path, c.without(module), module, a.Files[0])
		}
	}
	return c.match.f.err
}

// tie settles what embedding and head are where the base has one tensor for both, as PEFT computes it. A module that is
// saved whole, or has factors, is a tensor of its own, and the other stays the base's. What the file has of the base's
// own, and whole tensors that modules_to_save does not name, were loaded into the one tensor that both are. With
// ensure_weight_tying what is done to the embedding is done to both.
func (a *Adapter) tie(m Layout) error {
	embedName, headName := m.embed(), m.head()
	e, hasE := a.shared(embedName, headName, m)
	h, hasH := a.shared(headName, embedName, m)
	f, embedded := a.LoRA[moduleOf(embedName)]
	g, headed := a.LoRA[moduleOf(headName)]
	if a.Config.KeepTie {
		if hasE && hasH && !Equal(e, h) {
			return errs.Dataf("%s: ensure_weight_tying: true, but %s and %s of %s differ",
				a.Config.Path, embedName, headName, e.File)
		}
		if embedded && (!headed || !a.Config.DoRA && f.Scale == g.Scale && transposed(f.A, g.B) && transposed(f.B, g.A)) {
			delete(a.LoRA, moduleOf(headName))
			embedded, headed = false, false
		}
	}
	same := !hasE && !hasH
	switch {
	case hasE && hasH:
		same = Equal(e, h)
	case hasE:
		same = m.is(embedName, e)
	case hasH:
		same = m.is(embedName, h)
	}
	a.Untied = !same || embedded || headed
	if hasE {
		a.Saved[embedName] = e
	}
	if hasH {
		a.Saved[headName] = h
	}
	if !a.Untied { // one tensor, which is called the embedding
		if delete(a.Saved, headName); hasH {
			a.Saved[embedName] = h
		}
	}
	return nil
}

// shared is what the adapter has in the place of one of two tied tensors; has is false where it is the base's.
func (a *Adapter) shared(name, other string, m Layout) (t Tensor, has bool) {
	if t, has = a.Saved[name]; has {
		return t, true
	}
	for _, n := range []string{name, other} {
		if t, has = a.bases[n]; has {
			return t, true
		}
	}
	t, has = a.Saved[other]
	return t, has && !a.apart && (a.Config.KeepTie || !a.saves(moduleOf(other), m))
}

// transposed reports whether a (n,k) has the values of b (k,n).
func transposed(a, b Tensor) bool {
	n, k := a.Shape[0], a.Shape[1]
	if !b.Shape.Equal(tensor.Shape{k, n}) {
		return false
	}
	x, y := a.Floats(), b.Floats()
	for i, v := range x {
		if y[i%k*n+i/k] != v {
			return false
		}
	}
	return true
}
