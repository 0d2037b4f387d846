package template

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"longlora/internal/data/example"
	"longlora/internal/data/jinja"
	"longlora/internal/errs"
)

// ownText is what a model's own chat template makes of a conversation's system text: what it writes where there is
// none, and what it puts around one that is there, a header with the date say.
type ownText struct {
	absent        string // the text where a conversation has none
	writes        bool   // whether it writes one there
	before, after string // around one that is there
	// which is trimmed first, at its beginning, at its end
	trimsLeft, trimsRight bool
}

// apply gives a conversation the system text that the model's own template would.
func (o *ownText) apply(ms []example.Message) []example.Message {
	if len(ms) > 0 && ms[0].Role == example.System {
		first := ms[0]
		if o.trimsLeft {
			first.Content = strings.TrimLeftFunc(first.Content, jinja.IsSpace)
		}
		if o.trimsRight {
			first.Content = strings.TrimRightFunc(first.Content, jinja.IsSpace)
		}
		first.Content, first.Exact = o.before+first.Content+o.after, true
		return append([]example.Message{first}, ms[1:]...)
	}
	if !o.writes {
		return ms
	}
	at := errs.Option("system-default").String()
	return append([]example.Message{{Role: example.System, Content: o.absent, Exact: true, At: at}}, ms...)
}

// String says what it does.
func (o *ownText) String() string {
	var parts []string
	if o.writes {
		parts = append(parts, fmt.Sprintf("%q where a conversation has no system text", o.absent))
	}
	if around := o.before + o.after; around != "" {
		parts = append(parts, fmt.Sprintf("%q around one that it has", around))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", and ")
}

// OwnSystem says whether a model's own default system text and its header are written, and with which date.
type OwnSystem struct {
	Written bool
	Date    string // 2026-11-29; "": today
}

// addOwn has a template write the system text that the model's own chat template would.
func (t *Template) addOwn(o OwnSystem, chat string, enc Vocabulary) error {
	if !o.Written {
		return nil
	}
	fail := func(err error) error {
		return errs.Dataf("%s: %w", errs.Option("system-default"), err)
	}
	if chat == "" {
		return fail(fmt.Errorf("the model has no chat template of its own"))
	}
	date := time.Now()
	if o.Date != "" {
		var err error
		if date, err = time.Parse(time.DateOnly, o.Date); err != nil {
			return errs.Usagef("%s %s: no date such as 2026-11-29", errs.Option("system-date"), o.Date)
		}
	}
	eos, err := eosText(enc)
	if err == nil {
		t.own, err = t.findOwn(chat, date, eos)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// Texts that no template has, of private use: they stand for a system text, a user's, and the token that begins.
const sysMark, askMark, bosMark = "\ue001sys\ue001", "\ue001ask\ue001", "\ue001bos\ue001"

// begins are the tokens that our templates write before a conversation.
var begins = regexp.MustCompile(`^(<\|begin_of_text\|>|<s>|<bos>|<\|endoftext\|>)`)

// findOwn runs a model's own chat template, at a date, on conversations with a system text and without, and
// compares what it writes with what ours does. One that writes anything else differently is an error.
func (t *Template) findOwn(chat string, date time.Time, eos string) (*ownText, error) {
	ask := example.Message{Role: example.User, Content: askMark}
	told := func(s string) []example.Message { return []example.Message{{Role: example.System, Content: s}, ask} }
	own := func(ms []example.Message) (string, error) {
		w := jinja.Work{Chat: chat, Date: date, BOS: bosMark, EOS: eos}
		for _, m := range ms {
			w.Messages = append(w.Messages, map[string]any{"role": m.Role, "content": m.Content})
		}
		s, err := jinja.Run(w)
		return strings.TrimPrefix(s, bosMark), err
	}
	ours := func(ms []example.Message) string {
		r := &Rendering{}
		if err := t.render(r, &example.Example{Messages: ms}); err != nil {
			return ""
		}
		return begins.ReplaceAllString(string(r.Text), "")
	}
	head, tail, place := strings.Cut(ours(told(sysMark)), sysMark)
	o := &ownText{}
	none, err := own([]example.Message{ask})
	if err != nil {
		return nil, err
	}
	differs := func(s string) error {
		return fmt.Errorf("the model's own chat template writes %.200q, which is not the template %s", s, t.Name)
	}
	switch inner, ok := between(none, head, tail); {
	case none == ours([]example.Message{ask}):
	case place && ok && !strings.Contains(inner, askMark):
		o.writes, o.absent = true, inner
	default:
		return nil, differs(none)
	}
	with, err := own(told(sysMark))
	if errors.Is(err, jinja.ErrRaised) || !place { // it, or ours, has no place for one, which is said where there is one
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	inner, ok := between(with, head, tail)
	if ok {
		o.before, o.after, ok = strings.Cut(inner, sysMark)
	}
	if !ok {
		return nil, differs(with)
	}
	spaced, err := own(told(" " + sysMark + " "))
	if spaced, ok := between(spaced, head+o.before, o.after+tail); err == nil && ok {
		o.trimsLeft, o.trimsRight = !strings.HasPrefix(spaced, " "), !strings.HasSuffix(spaced, " ")
	}
	return o, nil
}

// between is what stands between a beginning and an end.
func between(s, head, tail string) (string, bool) {
	if len(s) < len(head)+len(tail) || !strings.HasPrefix(s, head) || !strings.HasSuffix(s, tail) {
		return "", false
	}
	return s[len(head) : len(s)-len(tail)], true
}
