package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	texttemplate "text/template"

	"longlora/internal/data/example"
	"longlora/internal/data/jinja"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// chatSeen and alpacaSeen are what a template file sees.
type chatSeen struct {
	Messages []example.Message
	BOS, EOS string
}

type alpacaSeen struct {
	chatSeen
	Instruction, Input string
}

// fileFields are the names that may stand in a template file.
var fileFields = []string{"Messages", "Role", "Content", "BOS", "EOS", "Instruction", "Input"}

// maxTemplateFile is far longer than templates are; it bounds how deep one can be nested.
const maxTemplateFile = 256 << 10

// readTemplate is the content of a template file.
func readTemplate(path string) ([]byte, error) {
	b, err := files.Read(path, maxTemplateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.Usagef("%s %s: neither a file nor one of auto, %s", errs.Option("template"), path,
			strings.Join(names, ", "))
	}
	if err != nil {
		return nil, errs.Usagef("%s: %w", errs.Option("template"), err)
	}
	return b, nil
}

// Sum is the hash (SHA-256) of a template file, "" for a template by name. A file that cannot be read is an error of
// usage.
func Sum(name string) (string, error) {
	if name == "" || name == Auto || slices.Contains(names, name) {
		return "", nil
	}
	b, err := readTemplate(name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// fileTemplate reads a Go text/template. What stands between its functions answer and end_answer is scored.
func fileTemplate(path string, enc Vocabulary) (*Template, error) {
	b, err := readTemplate(path)
	if err != nil {
		return nil, err
	}
	parsed, err := texttemplate.New(path).Funcs((&marker{}).functions()).Parse(string(b))
	if err != nil {
		return nil, errs.Usagef("%s: %w", errs.Option("template"), err)
	}
	if err := bound(parsed); err != nil {
		return nil, errs.Usagef("%s %s: %w", errs.Option("template"), path, err)
	}
	bos := ""
	if id, ok := enc.BOS(); ok {
		if bos, err = enc.Decode([]int32{id}); err != nil {
			return nil, err
		}
	}
	eos, err := eosText(enc)
	if err != nil {
		return nil, err
	}
	pool := sync.Pool{New: func() any { return newMarker(parsed) }}
	return &Template{Name: path, render: func(r *Rendering, e *example.Example) error {
		m, ok := pool.Get().(*marker)
		if !ok {
			return errs.Usagef("%s %s: cannot be copied", errs.Option("template"), path)
		}
		defer pool.Put(m)
		seen := chatSeen{Messages: e.Messages, BOS: bos, EOS: eos}
		if e.Alpaca {
			return m.run(path, r, e, alpacaSeen{seen, e.Instruction, e.Input})
		}
		return m.run(path, r, e, seen)
	}}, nil
}

// marker is one template ready to run, with what it is running into.
type marker struct {
	t    *texttemplate.Template
	buf  bytes.Buffer
	r    *Rendering
	open int // where an answer began, -1 outside
	left int // what it may still do, in bytes written and made; see bound
}

// newMarker copies a template and gives the copy functions of its own; nil where that fails.
func newMarker(parsed *texttemplate.Template) any {
	c, err := parsed.Clone()
	if err != nil {
		return nil
	}
	m := &marker{}
	m.t = c.Funcs(m.functions())
	return m
}

// functions are those of a template: answer and end_answer, and those of text/template that make texts, bounded.
func (m *marker) functions() texttemplate.FuncMap {
	out := m.bounded()
	out["answer"] = func() (string, error) {
		if m.open >= 0 {
			return "", errors.New("an answer inside an answer")
		}
		m.open = m.buf.Len()
		return "", nil
	}
	out["end_answer"] = func() (string, error) {
		if m.open < 0 {
			return "", errors.New("end_answer without answer")
		}
		m.r.Answers = append(m.r.Answers, Span{m.open, m.buf.Len()})
		m.open = -1
		return "", nil
	}
	return out
}

// Write adds what the template writes.
func (m *marker) Write(b []byte) (int, error) {
	if err := m.spend(len(b)); err != nil {
		return 0, err
	}
	return m.buf.Write(b)
}

// run writes one example.
func (m *marker) run(path string, r *Rendering, e *example.Example, seen any) error {
	m.buf.Reset()
	m.r, m.open, m.left = r, -1, allowance(e)
	err := m.t.Execute(m, seen)
	switch {
	case m.left < 0:
		err = errors.New("it writes or does far more than an example needs; does a loop in it end?")
	case err == nil && m.open >= 0:
		err = errors.New("answer without end_answer")
	case err == nil && len(r.Answers) == 0:
		err = errors.New("nothing stands between {{answer}} and {{end_answer}}, so nothing would be scored")
	}
	if err != nil {
		return errs.Usagef("%s %s: %w", errs.Option("template"), path, err)
	}
	r.raw(m.buf.String())
	if err := r.unscore(e); err != nil {
		return err
	}
	r.find(e)
	return nil
}

// unscore takes back the answers that the data leaves unscored. Which is which is known where the template writes as
// many answers as there are.
func (r *Rendering) unscore(e *example.Example) error {
	var given []example.Message
	for _, m := range e.Messages {
		if m.Role == example.Assistant {
			given = append(given, m)
		}
	}
	i := slices.IndexFunc(given, func(m example.Message) bool { return m.Silent })
	if i < 0 {
		return nil
	}
	if len(given) != len(r.Answers) {
		return fmt.Errorf("%s: a message that is not scored: the template file marks %d answers of %d, so it is not known "+
			"which it is", given[i].At, len(r.Answers), len(given))
	}
	kept := r.Answers[:0]
	for i, a := range r.Answers {
		if !given[i].Silent {
			kept = append(kept, a)
		}
	}
	r.Answers = kept
	return nil
}

// find looks for the texts of the prompt in what a template made of them, outside answers.
func (r *Rendering) find(e *example.Example) {
	at, all := 0, string(r.Text)
	add := func(s string) bool {
		for from := at; s != ""; {
			i := strings.Index(all[from:], s)
			if i < 0 {
				return false
			}
			p := Span{from + i, from + i + len(s)}
			if !slices.ContainsFunc(r.Answers, func(a Span) bool { return a.Lo < p.Hi && p.Lo < a.Hi }) {
				r.Prompts, at = append(r.Prompts, p), p.Hi
				return true
			}
			from = p.Lo + 1
		}
		return true
	}
	for _, m := range e.Messages {
		if m.Role == example.Assistant {
			continue
		}
		for _, s := range m.Texts() {
			if !add(s) && !add(jinja.Strip(s)) && !strings.Contains(all, jinja.Strip(s)) {
				e.Unread = append(e.Unread, "texts of the "+m.Role+" (the template file leaves them out)")
			}
		}
	}
}
