package jsonfile

import (
	"fmt"
	"strings"

	"longlora/internal/data/record"
)

// StreamText goes through a record for which Next gave ErrLong, and gives what its field of a name says to emit, piece
// by piece. found says whether the record has that field, names which it has, the first of them where there are many;
// bad is what is wrong with the record, err why there is no going on. An error of emit's ends it, and is in one of the
// two.
func StreamText(rs Records, field string, emit func([]byte) error) (found bool, names []string, bad, err error) {
	var wrong error // in a record that is sound JSON
	l := rs.long()
	bad, err = rs.pass(l.object(func(key string) error {
		if len(names) <= mostNames {
			names = append(names, key)
		}
		c, err := l.peek()
		switch {
		case err != nil:
			return record.CutOff(err)
		case key != field:
			return l.value()
		case found:
			wrong = twice(field)
			return l.value()
		case c != '"':
			found, wrong = true, fmt.Errorf("field %q is no string", field)
			return l.value()
		}
		found = true
		return l.text(emit)
	}))
	if err == nil && bad == nil {
		bad = wrong
	}
	return found, names, bad, err
}

// Glance goes through a record for which Next gave ErrLong, and gives its wanted fields without what they say: values
// of their types, empty where they are, and of a text its beginning. names, bad and err are as StreamText has them.
func Glance(rs Records, want func(string) bool) (m map[string]any, names []string, bad, err error) {
	m = map[string]any{}
	l := rs.long()
	bad, err = rs.pass(l.object(func(key string) error {
		if len(names) <= mostNames {
			names = append(names, key)
		}
		if !want(key) {
			return l.value()
		}
		m[key] = glance(l.ahead(3))
		return l.value()
	}))
	return m, names, bad, err
}

// glance is a value of the type that some JSON begins, empty where that is; of a text its beginning.
func glance(b []byte) any {
	switch {
	case len(b) == 0: // what is wrong with it the end tells
		return nil
	case b[0] == '"':
		text, _, _ := strings.Cut(string(b[1:]), `"`)
		return text
	case string(b[:min(len(b), 2)]) == "{}":
		return map[string]any{}
	case b[0] == '{':
		return map[string]any{"": nil}
	case string(b[:min(len(b), 2)]) == "[]":
		return []any{}
	case b[0] == '[':
		return []any{nil}
	case b[0] == 'n':
		return nil
	}
	return 0.0
}
