package eval

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Template are the words of the passkey task; {key} and {name} stand for what is drawn.
type Template struct {
	Intro, Filler, Fact, Question, Answer string
	Keys, Names                           []string
}

// Paper is the task of the paper's code (landmark attention's prompt).
var Paper = Template{
	Intro: "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz " +
		"you about the important information there.\n",
	Filler:   "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ",
	Fact:     "\nThe pass key is {key}. Remember it. {key} is the pass key.\n",
	Question: "\nWhat is the pass key? The pass key is",
	Answer:   " {key}",
}

// maxTemplate is the longest template file that is read, in bytes.
const maxTemplate = 4 << 20

// ReadTemplate reads a template file, which is YAML. Faults are of usage.
func ReadTemplate(path string) (Template, error) {
	b, err := files.Read(path, maxTemplate)
	if err != nil {
		return Template{}, errs.Usagef("%s: %w", errs.Option("passkey-template"), err)
	}
	t, err := parseTemplate(b)
	if err != nil {
		return t, errs.Usagef("%s %s: %w", errs.Option("passkey-template"), path, err)
	}
	return t, nil
}

// parseTemplate goes through the file's nodes itself: a decoder would compare every key with every other.
func parseTemplate(b []byte) (Template, error) {
	var t Template
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil && err != io.EOF { // an empty file lacks the first text
		return t, err
	}
	if err := d.Decode(&more); err == nil {
		return t, errAt(&more, "a second document; one file holds one template")
	}
	if len(doc.Content) > 0 {
		if err := t.read(doc.Content[0]); err != nil {
			return t, err
		}
	}
	return t, t.check()
}

// errAt is a fault at a node's line.
func errAt(n *yaml.Node, format string, a ...any) error {
	return errs.Usagef("line %d: "+format, append([]any{n.Line}, a...)...)
}

// read takes the texts and lists from a mapping.
func (t *Template) read(root *yaml.Node) error {
	if root.Kind != yaml.MappingNode {
		return errAt(root, "a mapping of intro, filler, fact, question, answer, keys and names is wanted")
	}
	texts := map[string]*string{"intro": &t.Intro, "filler": &t.Filler, "fact": &t.Fact, "question": &t.Question,
		"answer": &t.Answer}
	lists := map[string]*[]string{"keys": &t.Keys, "names": &t.Names}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], behind(root.Content[i+1])
		text, list := texts[key.Value], lists[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || text == nil && list == nil:
			return errAt(key, "unknown key %.40q; known are intro, filler, fact, question, answer, keys, names", key.Value)
		case seen[key.Value]:
			return errAt(key, "%s stands twice", key.Value)
		case text != nil && value.Kind != yaml.ScalarNode:
			return errAt(key, "%s must be a text", key.Value)
		case text != nil:
			*text = textIn(value)
		case value.Kind == yaml.SequenceNode:
			for _, n := range value.Content {
				if n = behind(n); n.Kind != yaml.ScalarNode {
					return errAt(n, "%s must hold texts alone", key.Value)
				}
				*list = append(*list, textIn(n))
			}
		case textIn(value) != "" || value.Kind != yaml.ScalarNode:
			return errAt(key, "%s must be a list of texts", key.Value)
		}
		seen[key.Value] = true
	}
	return nil
}

// behind is the node that an alias stands for.
func behind(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// textIn is a scalar as it is written, "" for null.
func textIn(n *yaml.Node) string {
	if n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// check refuses a template that cannot be asked.
func (t *Template) check() error {
	for _, f := range [][2]string{{"filler", t.Filler}, {"fact", t.Fact}, {"question", t.Question}, {"answer", t.Answer}} {
		if f[1] == "" {
			return errors.New(f[0] + " is missing")
		}
	}
	if !strings.Contains(t.Fact, "{key}") || !strings.Contains(t.Answer, "{key}") {
		return errors.New("fact and answer must hold {key}")
	}
	for name, list := range map[string][]string{"keys": t.Keys, "names": t.Names} {
		if slices.Contains(list, "") {
			return errors.New(name + " holds an empty text")
		}
	}
	return nil
}
