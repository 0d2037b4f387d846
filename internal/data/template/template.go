// Package template writes examples as the text that a model is trained on, or asked with, and marks what of it is
// scored. A template is one of those that public models have, built in here, or a file of Go's text/template.
package template

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/errs"
)

// Vocabulary is what a template wants of a tokenizer: the tokens that begin and end a document, which marks are tokens,
// and the text of a token. Package tokenizer has it.
type Vocabulary interface {
	BOS() (int32, bool)
	EOS() (int32, bool)
	ID(token string) (int32, bool)
	Decode(ids []int32) (string, error)
}

// Template writes examples as text. It may be used by several goroutines at once.
type Template struct {
	Name   string   // by which it is known, a file's path for one of a file
	why    string   // it was chosen, where nobody named it
	marks  []string // special tokens that it writes out
	tools  bool     // it has a place for functions, their calls and results
	own    *ownText // what the model's own template makes of the system text; nil: it is left as it is
	render func(r *Rendering, e *example.Example) error
}

// Write appends an example to a rendering. An error that names no kind is the example's: it has what the template has
// no place for; one that does (errs.Error) is the template's.
func (t *Template) Write(r *Rendering, e *example.Example) error {
	if !t.tools {
		if err := noTools(e); err != nil {
			return err
		}
	}
	if t.own != nil {
		with := *e
		with.Messages = t.own.apply(e.Messages)
		e = &with
	}
	return t.render(r, e)
}

// names are the templates that --template knows beside auto and files.
var names = []string{"llama2", "longalpaca", "llama3", "chatml", "alpaca", "mistral", "phi", "granite", "gemma",
	"olmo"}

// Auto names the template that the marks in the model's own tell.
const Auto = "auto"

// Open is the template that a user names: by its name, Auto (by the marks in chat, the model's own), or a file. own
// says whether it writes the system text that the model's own would. An error is one of usage where there is no such
// template or the file is none, and a data error where the model's own says something else than ours.
func Open(name, chat string, own OwnSystem, enc Vocabulary) (*Template, error) {
	t, err := named(name, chat, enc)
	if err == nil {
		err = t.addOwn(own, chat, enc)
	}
	return t, err
}

// named is the template without the model's own system text.
func named(name, chat string, enc Vocabulary) (*Template, error) {
	why := ""
	if name == Auto || name == "" {
		name, why = autoTemplate(chat)
	}
	if !slices.Contains(names, name) {
		return fileTemplate(name, enc)
	}
	eos, err := eosText(enc)
	if err != nil {
		return nil, err
	}
	t := builtin(name, eos, chat)
	t.why = why
	return t, nil
}

// Notes are what is to be said of a template that writes what, for a model whose own is chat: of, its name and why it
// was chosen; and model, which of its marks are no tokens, and what of the model's own template is left out.
func (t *Template) Notes(what, chat string, enc Vocabulary) (of string, model []string) {
	of = what + " by the template " + t.Name
	if t.why != "" {
		of += " (" + t.why + ")"
	}
	if m := t.missing(enc); len(m) > 0 {
		model = append(model, fmt.Sprintf("the tokenizer has no token %s: the template's marks are encoded as text",
			strings.Join(m, ", ")))
	}
	if t.own != nil {
		model = append(model, fmt.Sprintf("of the model's own chat template is written, in training and in generate "+
			"alike: %s", t.own))
	} else if own, _ := autoTemplate(chat); own == t.Name && leftOut(chat) != "" {
		model = append(model, fmt.Sprintf("the model's own chat template may add %s; this is left out, in training and in "+
			"generate alike, without %s", leftOut(chat), errs.Option("system-default")))
	}
	return of, model
}

// eosText is the end of a document as text, "" where no file says which token it is.
func eosText(enc Vocabulary) (string, error) {
	if id, ok := enc.EOS(); ok {
		return enc.Decode([]int32{id})
	}
	return "", nil
}

// missing are the template's marks that are no tokens of the tokenizer.
func (t *Template) missing(enc Vocabulary) (out []string) {
	for _, m := range t.marks {
		if _, ok := enc.ID(m); !ok {
			out = append(out, m)
		}
	}
	return out
}

// builtin is a template by its name; eos is the tokenizer's end of a document. chat is the model's own template, which
// says how functions' results are written, and which of a family's forms it is.
func builtin(name, eos, chat string) *Template {
	t := &Template{Name: name}
	switch name {
	case "llama2":
		t.marks, t.render = []string{"<s>", "</s>"}, llama2
	case "mistral":
		t.marks, t.render = []string{"<s>", "</s>"}, mistral
	case "longalpaca":
		t.marks, t.render = []string{"</s>"}, longalpaca
	case "llama3":
		result := example.Tool
		if strings.Contains(chat, "ipython") {
			result = "ipython"
		}
		t.tools, t.marks = true, []string{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}
		t.render = func(r *Rendering, e *example.Example) error { return llama3(r, e, result) }
	case "chatml":
		wrapped := strings.Contains(chat, "<tool_response>")
		t.tools, t.marks = true, []string{"<|im_start|>", "<|im_end|>"}
		t.render = func(r *Rendering, e *example.Example) error { return chatml(r, e, wrapped) }
	case "phi":
		t = newPhi(eos, chat)
		t.Name = name
	case "granite":
		t.marks, t.render = []string{"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"}, granite
	case "gemma":
		refuses := strings.Contains(chat, "System role not supported")
		t.marks = []string{"<bos>", "<start_of_turn>", "<end_of_turn>"}
		t.render = func(r *Rendering, e *example.Example) error { return gemma(r, e, refuses) }
	case "olmo":
		t.marks, t.render = []string{"<|endoftext|>"}, olmo
	case "alpaca":
		t.render = func(r *Rendering, e *example.Example) error { return stanford(r, e, eos) }
	}
	return t
}
