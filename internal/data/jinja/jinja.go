// Package jinja runs a model's own chat template, a program of Jinja that comes out of the model's folder, in a process
// of its own that is bounded in time and memory. Any program that imports it becomes that process when it is called so.
package jinja

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/nikolalohinski/gonja/v2"
	jinja "github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// ErrRaised is in the error of a template that refuses what it is given, by raise_exception.
var ErrRaised = errors.New("it raises an exception")

// lastWords is the end of a template's error, which says the cause after all places on the way to it.
func lastWords(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	const most = 200
	if len(s) > most {
		s = "…" + strings.ToValidUTF8(s[len(s)-most:], "")
	}
	return s
}

// strippers are Python's methods that take white space, or other characters, off a text.
var strippers = map[string]func(s string, is func(rune) bool) string{
	"strip": strings.TrimFunc, "lstrip": strings.TrimLeftFunc, "rstrip": strings.TrimRightFunc,
}

// environment is the library's, but for methods of texts: its strip fails without an argument, and what its others give
// is no text to its own operators.
func environment() *exec.Environment {
	was := gonja.DefaultEnvironment.Methods
	now := map[string]exec.Method[string]{}
	for _, name := range strings.Fields("capitalize casefold count endswith find index isdigit isspace join ljust lower " +
		"lstrip partition removeprefix removesuffix replace rfind rjust rpartition rsplit rstrip split splitlines " +
		"startswith strip title upper zfill") {
		old, ok := was.Str.Get(name)
		if !ok {
			continue
		}
		now[name] = func(self string, v *exec.Value, a *exec.VarArgs) (any, error) {
			if trim := strippers[name]; trim != nil {
				is := IsSpace
				if len(a.Args) > 0 {
					is = func(r rune) bool { return strings.ContainsRune(a.Args[0].String(), r) }
				}
				return trim(self, is), nil
			}
			out, err := old(self, v, a)
			if r := reflect.ValueOf(out); err == nil && r.Kind() == reflect.String {
				return r.String(), nil
			}
			return out, err
		}
	}
	e := *gonja.DefaultEnvironment
	e.Methods.Str = exec.NewMethodSet(now)
	return &e
}

// render runs a chat template in this process.
func render(w Work) (text string, err error) {
	c := exec.NewContext(map[string]any{"messages": w.Messages, "bos_token": w.BOS, "eos_token": w.EOS,
		"add_generation_prompt": false, "strftime_now": func(form string) string { return strftime(w.Date, form) },
		"raise_exception": func(s string) (string, error) { return "", fmt.Errorf("%w %q", ErrRaised, s) }})
	chat := w.Chat
	for _, mark := range []string{"generation", "endgeneration"} { // marks of transformers' own, which write nothing
		for _, form := range []string{"{%% %s %%}", "{%%- %s %%}", "{%% %s -%%}", "{%%- %s -%%}"} {
			tag := fmt.Sprintf(form, mark)
			chat = strings.ReplaceAll(chat, tag, strings.Replace(tag, mark, "set _ = 0", 1))
		}
	}
	const name = "/chat_template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: strings.TrimSuffix(chat, "\n")})
	if err != nil {
		return "", err
	}
	defer func() { // the library panics at some templates
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	cfg := jinja.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true
	t, err := exec.NewTemplate(name, cfg, loader, environment())
	if err != nil {
		return "", err
	}
	text, err = t.ExecuteToString(c)
	if err != nil && strings.Contains(err.Error(), ErrRaised.Error()) { // it does not wrap what a function returns
		err = ErrRaised
	}
	return text, err
}

// strftime writes a date as Python's does, the parts that templates ask for.
func strftime(t time.Time, form string) string {
	parts := map[byte]string{'d': "02", 'b': "Jan", 'B': "January", 'Y': "2006", 'y': "06", 'm': "01", 'A': "Monday",
		'a': "Mon", 'H': "15", 'M': "04", 'S': "05", 'p': "PM", 'I': "03", 'e': "_2", 'j': "002"}
	var b strings.Builder
	for i := 0; i < len(form); i++ {
		if form[i] != '%' || i+1 == len(form) {
			b.WriteByte(form[i])
			continue
		}
		i++
		bare := form[i] == '-' && i+1 < len(form) // %-d: without zeros in front
		if bare {
			i++
		}
		layout, ok := parts[form[i]]
		s := t.Format(layout)
		switch {
		case form[i] == '%':
			s = "%"
		case !ok:
			s = form[i-1 : i+1]
		case bare:
			s = strings.TrimLeft(s[:len(s)-1], "0") + s[len(s)-1:]
		}
		b.WriteString(s)
	}
	return b.String()
}

// Strip is Python's str.strip, by which the models' own templates trim: s without white space at both ends.
func Strip(s string) string { return strings.TrimFunc(s, IsSpace) }

// IsSpace reports whether a character is white space to Python's str.isspace.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
