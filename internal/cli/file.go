package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// A file of options is a flat YAML mapping. Text comes back as it is written: 2024.10 is not 2024.1 where a folder's
// name is wanted.

// maxFile is far longer than all options with long lists of paths.
const maxFile = 1 << 20

// given is a value as its source has it: one text, and its parts where it is a YAML list.
type given struct {
	text  string // as it is written
	plain string // a number or truth value in the spelling that flags have; otherwise text
	list  []given
}

// textual reports whether an option's value is text, of which every letter counts.
func textual(f *pflag.Flag) bool {
	switch f.Value.Type() {
	case "string", "stringArray", "stringSlice":
		return true
	}
	return false
}

// as is the value as an option takes it.
func (g given) as(f *pflag.Flag) string {
	if textual(f) {
		return g.text
	}
	return g.plain
}

// read loads the YAML file into option names and values.
func (v *Values) read() (map[string]given, error) {
	path := ""
	if f := v.fs.Lookup("config"); f != nil {
		path = f.Value.String()
	}
	if path == "" && v.Given("config") {
		return nil, errs.Usagef("%s: it has no value; give a file or leave it out", v.by("config"))
	}
	if path == "" {
		path = DefaultFile
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if wrong := homeless(path); wrong != "" {
		return nil, errs.Usagef("%s: %s", v.shown("config"), wrong)
	}
	v.file = path
	b, err := files.Read(path, maxFile)
	if err != nil {
		return nil, errs.Usagef("%s: %w", v.by("config"), err)
	}
	out, err := parseFile(b)
	if err != nil {
		return nil, errs.Usagef("%s: %w", path, err)
	}
	return out, nil
}

// names are those of the options of all commands: a file may be shared between commands.
func names() (out []string) {
	for _, o := range table {
		if o.Name != "help" {
			out = append(out, o.Name)
		}
	}
	return out
}

func parseFile(b []byte) (map[string]given, error) {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document; give the options in one")
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" { // comments alone
		return nil, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("not a list of options, as rank: 8")
	}
	out, known := map[string]given{}, names()
	for i := 0; i+1 < len(top.Content); i += 2 {
		key := top.Content[i].Value
		name := strings.ToLower(strings.ReplaceAll(key, "_", "-"))
		if top.Content[i].Kind != yaml.ScalarNode || !slices.Contains(known, name) {
			return nil, fmt.Errorf("%.100s is no option%s", key, suggest(name, known))
		}
		if name == "config" {
			return nil, errors.New("config: a file of options names no other one; write that one's options here, or give it " +
				"as --config")
		}
		value, err := valueOf(top.Content[i+1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s stands twice", name)
		}
		out[name] = value
	}
	return out, nil
}

// valueOf is a YAML value as an option has it.
func valueOf(n *yaml.Node) (given, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.SequenceNode {
		return scalar(n)
	}
	g := given{list: []given{}}
	var texts []string
	for _, e := range n.Content {
		if e.Kind == yaml.AliasNode {
			e = e.Alias
		}
		part, err := scalar(e)
		if err != nil {
			return given{}, err
		}
		g.list, texts = append(g.list, part), append(texts, part.text)
	}
	g.text = strings.Join(texts, ",")
	g.plain = g.text
	return g, nil
}

func scalar(n *yaml.Node) (given, error) {
	g := given{text: n.Value, plain: n.Value}
	if n.Kind != yaml.ScalarNode {
		return g, errors.New("a list or mapping where a number, text or a flat list is wanted")
	}
	switch n.ShortTag() {
	case "!!null":
		return g, errors.New("it has no value; give one or remove the line")
	case "!!binary": // text that is no UTF-8
		b, err := base64.StdEncoding.DecodeString(n.Value)
		g.text, g.plain = string(b), string(b)
		return g, err
	case "!!int", "!!float", "!!bool":
		var x any
		if err := n.Decode(&x); err != nil {
			return g, err
		}
		g.plain = numeralOf(n.Value, x)
	case "!!str", "!!timestamp", "!!merge": // << is text where it is no key
	default:
		return g, fmt.Errorf("a value of type %.100s where a number, text or a list is wanted", n.Tag)
	}
	return g, nil
}

// numeralOf is a number or truth value of YAML in the spelling that flags have. What is no other number there stays as
// it is written: digits (see decimal, and YAML makes floats of too many), and what a float64 cannot hold.
func numeralOf(text string, x any) string {
	if strings.Trim(text, "+-_0123456789") == "" {
		return text
	}
	f, ok := x.(float64)
	if !ok {
		return fmt.Sprint(x)
	}
	short := strings.ReplaceAll(text, "_", "")
	if _, err := parseReal(short); errors.Is(err, errTiny) {
		return short
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
