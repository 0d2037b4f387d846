package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	texttemplate "text/template"
	"text/template/parse"

	"longlora/internal/errs"
)

// chatFields and alpacaFields are what a template file sees.
type chatFields struct {
	Messages []Message
	BOS, EOS string
}

type alpacaFields struct {
	chatFields
	Instruction, Input string
}

// fileFields are the names that may stand in a template file.
var fileFields = []string{"Messages", "Role", "Content", "BOS", "EOS", "Instruction", "Input"}

// marker is one template ready to run, with what it is running into.
type marker struct {
	t    *texttemplate.Template
	buf  bytes.Buffer
	r    *rendering
	open int // where an answer began, -1 outside
}

// fileTemplate reads a Go text/template. What stands between its functions answer and end_answer is scored.
func fileTemplate(path string, enc Encoder) (*template, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, errs.Usagef("--template %s: neither a file nor one of auto, %s", path, strings.Join(TemplateNames, ", "))
		}
		return nil, errs.Usagef("--template: %w", err)
	}
	nothing := func() string { return "" }
	parsed, err := texttemplate.New(path).Funcs(texttemplate.FuncMap{"answer": nothing, "end_answer": nothing}).Parse(string(b))
	if err != nil {
		return nil, errs.Usagef("--template: %w", err)
	}
	for _, t := range parsed.Templates() {
		if f := unknownField(t.Root); f != "" {
			return nil, errs.Usagef("--template %s: unknown field .%s; known are .%s", path, f, strings.Join(fileFields, ", ."))
		}
	}
	bos := ""
	if id, ok := enc.BOS(); ok {
		bos = enc.Decode([]int32{id})
	}
	eos := eosText(enc)
	pool := sync.Pool{New: func() any { return newMarker(parsed) }}
	return &template{name: path, render: func(r *rendering, e *example) error {
		m, ok := pool.Get().(*marker)
		if !ok {
			return errs.Usagef("--template %s: cannot be copied", path)
		}
		defer pool.Put(m)
		seen := chatFields{Messages: e.messages, BOS: bos, EOS: eos}
		if e.alpaca {
			return m.run(path, r, e, alpacaFields{seen, e.instruction, e.input})
		}
		return m.run(path, r, e, seen)
	}}, nil
}

// newMarker copies a template and gives the copy functions of its own; nil where that fails.
func newMarker(parsed *texttemplate.Template) any {
	c, err := parsed.Clone()
	if err != nil {
		return nil
	}
	m := &marker{}
	m.t = c.Funcs(texttemplate.FuncMap{
		"answer": func() (string, error) {
			if m.open >= 0 {
				return "", errors.New("an answer inside an answer")
			}
			m.open = m.buf.Len()
			return "", nil
		},
		"end_answer": func() (string, error) {
			if m.open < 0 {
				return "", errors.New("end_answer without answer")
			}
			m.r.answers = append(m.r.answers, span{m.open, m.buf.Len()})
			m.open = -1
			return "", nil
		},
	})
	return m
}

// run writes one example.
func (m *marker) run(path string, r *rendering, e *example, seen any) error {
	m.buf.Reset()
	m.r, m.open = r, -1
	err := m.t.Execute(&m.buf, seen)
	if err == nil && m.open >= 0 {
		err = errors.New("answer without end_answer")
	}
	if err == nil && len(r.answers) == 0 {
		err = errors.New("nothing stands between {{answer}} and {{end_answer}}, so nothing would be scored")
	}
	if err != nil {
		return errs.Usagef("--template %s: %w", path, err)
	}
	r.raw(m.buf.String())
	r.find(e)
	return nil
}

// find looks for the texts of the prompt in what a template made of them, outside answers.
func (r *rendering) find(e *example) {
	at, all := 0, string(r.b)
	add := func(s string) bool {
		for from := at; s != ""; {
			i := strings.Index(all[from:], s)
			if i < 0 {
				return false
			}
			p := span{from + i, from + i + len(s)}
			if !slices.ContainsFunc(r.answers, func(a span) bool { return a.lo < p.hi && p.lo < a.hi }) {
				r.prompts, at = append(r.prompts, p), p.hi
				return true
			}
			from = p.lo + 1
		}
		return false
	}
	for _, m := range e.messages {
		switch {
		case m.Role == assistant:
		case e.alpaca:
			add(e.instruction)
			add(e.input)
		case !add(m.Content):
			add(strip(m.Content))
		}
	}
}

// unknownField is the first field of a template that no data has, "" without any.
func unknownField(n parse.Node) string {
	var bad string
	visit(n, func(names []string) {
		for _, f := range names {
			if bad == "" && !slices.Contains(fileFields, f) {
				bad = f
			}
		}
	})
	return bad
}

// visit calls f with every chain of fields below a node.
func visit(n parse.Node, f func([]string)) {
	branch := func(b *parse.BranchNode) {
		visit(b.Pipe, f)
		visit(b.List, f)
		if b.ElseList != nil {
			visit(b.ElseList, f)
		}
	}
	switch x := n.(type) {
	case *parse.ListNode:
		for _, c := range x.Nodes {
			visit(c, f)
		}
	case *parse.ActionNode:
		visit(x.Pipe, f)
	case *parse.IfNode:
		branch(&x.BranchNode)
	case *parse.RangeNode:
		branch(&x.BranchNode)
	case *parse.WithNode:
		branch(&x.BranchNode)
	case *parse.TemplateNode:
		if x.Pipe != nil {
			visit(x.Pipe, f)
		}
	case *parse.PipeNode:
		for _, c := range x.Cmds {
			for _, a := range c.Args {
				visit(a, f)
			}
		}
	case *parse.FieldNode:
		f(x.Ident)
	case *parse.VariableNode:
		f(x.Ident[1:])
	case *parse.ChainNode:
		visit(x.Node, f)
		f(x.Field)
	}
}

// TemplateSum is the hash of a template file, "" for a template by name.
func TemplateSum(name string) (string, error) {
	if name == "" || name == Auto || slices.Contains(TemplateNames, name) {
		return "", nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", errs.Usagef("--template: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
