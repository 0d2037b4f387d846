package ckpt

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"longlora/internal/errs"
)

// selection names modules of a model: by a regular expression for their whole names, or by names and endings.
type selection struct {
	given  bool
	linear bool   // all-linear: every linear layer but the head
	whole  string // an expression
	names  []string
}

// pattern is a number for the modules whose names end with what an expression matches.
type pattern struct {
	key   string
	value float64
}

// patterns are tried in their order.
type patterns []pattern

// matcher applies Python's regular expressions to module names. The first fault is kept by its fields.
type matcher struct {
	f        *fields
	compiled map[string]*regexp2.Regexp
}

// patience is how long one expression may take over one name; no sane one takes a thousandth of it.
const patience = time.Second

// test reports whether an expression, which is said to come from a field, matches.
func (m *matcher) test(field, expr, name string) bool {
	found := m.find(field, expr, name)
	return found != nil
}

// find is the match of an expression in a name, nil for none.
func (m *matcher) find(field, expr, name string) *regexp2.Match {
	if m.f.err != nil {
		return nil
	}
	re, ok := m.compiled[expr]
	if !ok {
		var err error
		if re, err = regexp2.Compile(expr, regexp2.RE2); err != nil {
			m.f.fail(field, "not a regular expression that can be read: %v", err)
			return nil
		}
		re.MatchTimeout = patience
		if m.compiled == nil {
			m.compiled = map[string]*regexp2.Regexp{}
		}
		m.compiled[expr] = re
	}
	found, err := re.FindStringMatch(name)
	if err != nil {
		m.f.fail(field, "the regular expression takes too long over %s; write it without nested repetitions", name)
		return nil
	}
	return found
}

// selection reads a field that is null, an expression, or a list of names.
func (m *matcher) selection(field string) selection {
	s := selection{}
	switch v := m.f.raw[field].(type) {
	case nil:
		return s
	case string:
		s.given = true
		switch {
		case field == "modules_to_save":
			s.names = []string{v}
		case strings.EqualFold(v, "all-linear") && field == "target_modules":
			s.linear = true
		default:
			s.whole = v
		}
	case []any:
		s.given = true
		for _, x := range v {
			name, ok := x.(string)
			if !ok {
				m.f.fail(field, "%s is not a module's name", errs.Shown(x))
			}
			s.names = append(s.names, name)
		}
	default:
		m.f.fail(field, "%s is neither a text nor a list of names", errs.Shown(v))
	}
	return s
}

// selects reports whether a module is one of a selection's.
func (m *matcher) selects(s selection, field, module string) bool {
	switch {
	case s.linear:
		return !isEnd(module + ".weight")
	case s.whole != "":
		return m.test(field, `\A(?:`+s.whole+`)\z`, module)
	}
	return slices.ContainsFunc(s.names, func(name string) bool {
		return module == name || strings.HasSuffix(module, "."+name)
	})
}

// within reports whether a module is one of those named, or part of one; the names are expressions.
func (m *matcher) within(names []string, module string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return m.test("modules_to_save", `\A(?:^|.*\.)`+name+`(?:$|\..*)`, module)
	})
}

// layer is the number of the layer that a module lies in, counted from 0; -1 where it lies in none. What stands before
// the number is one of the expressions, or anything where there are none.
func (m *matcher) layer(module string, before []string) int {
	if len(before) == 0 {
		before = []string{`[^.]*`}
	}
	for _, b := range before {
		if found := m.find("layers_pattern", `\A(?:|.*?\.)`+b+`\.(?P<layer_number>[0-9]+)\.`, module); found != nil {
			n, err := strconv.Atoi(found.GroupByName("layer_number").String())
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}

// patterns reads a field of expressions and their numbers.
func (m *matcher) patterns(field string, o ordered) (out patterns) {
	for _, p := range o {
		x, err := p.value.Float64()
		if err != nil {
			m.f.fail(field, "%s of %q is out of range", p.value, p.key)
		}
		out = append(out, pattern{p.key, x})
	}
	return out
}

// of is the number of the first pattern that matches a module, or what all others have.
func (ps patterns) of(m *matcher, field, module string, others float64) float64 {
	for _, p := range ps {
		if m.test(field, `\A(?:.*\.)?(?:`+p.key+`)$`, module) {
			return p.value
		}
	}
	return others
}

// moduleOf is the module that a tensor belongs to: its name without the last part.
func moduleOf(name string) string { return name[:max(0, strings.LastIndexByte(name, '.'))] }
