package record

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// PythonJSON is a value, as the readers give it, as Python's json.dumps(ensure_ascii=False) writes it, which is what
// the models' own templates write tools with; indent, where it is not 0, is its indent.
func PythonJSON(v any, indent int) string {
	var b strings.Builder
	writeJSON(&b, v, indent, 0)
	return b.String()
}

func writeJSON(b *strings.Builder, v any, indent, depth int) {
	list := func(open, shut string, n int, item func(i int)) {
		b.WriteString(open)
		for i := range n {
			switch {
			case indent > 0 && i > 0:
				b.WriteString(",\n")
			case indent > 0:
				b.WriteString("\n")
			case i > 0:
				b.WriteString(", ")
			}
			b.WriteString(strings.Repeat(" ", indent*(depth+1)))
			item(i)
		}
		if indent > 0 && n > 0 {
			b.WriteString("\n" + strings.Repeat(" ", indent*depth))
		}
		b.WriteString(shut)
	}
	fields := func(keys []string, of map[string]any) {
		list("{", "}", len(keys), func(i int) {
			writeString(b, keys[i])
			b.WriteString(": ")
			writeJSON(b, of[keys[i]], indent, depth+1)
		})
	}
	switch x := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(x))
	case string:
		writeString(b, x)
	case []any:
		list("[", "]", len(x), func(i int) { writeJSON(b, x[i], indent, depth+1) })
	case *Object:
		fields(x.Keys, x.Of)
	case map[string]any:
		fields(slices.Sorted(maps.Keys(x)), x)
	case json.Number:
		b.WriteString(pythonNumber(string(x)))
	case float64:
		b.WriteString(pythonFloat(x))
	case float32:
		b.WriteString(pythonFloat(float64(x)))
	case int32, int64, uint32, uint64:
		fmt.Fprint(b, x)
	default: // of a table
		writeString(b, fmt.Sprint(x))
	}
}

// pythonNumber is a number as Python writes it after reading it: whole ones as they are, others by repr.
func pythonNumber(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			return "0"
		}
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	return pythonFloat(f)
}

// pythonFloat is a float as Python's json writes it.
func pythonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64), "+") + "inity"
	}
	short := strconv.FormatFloat(f, 'e', -1, 64)
	exp, err := strconv.Atoi(short[strings.IndexByte(short, 'e')+1:])
	if err != nil || exp < -4 || exp >= 16 {
		return short
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func writeString(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	for _, r := range s {
		switch i := strings.IndexRune("\"\\\n\r\t\b\f", r); {
		case i >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\nrtbf`[i])
		case r < 0x20:
			b.WriteString(`\u00`)
			b.WriteByte(hex[r>>4])
			b.WriteByte(hex[r&15])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}
