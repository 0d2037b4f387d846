package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/data/example"
	"longlora/internal/data/plaintext"
	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/ops"
	"longlora/internal/ui"
)

// runTalk answers the conversations of a file of JSON lines, or one that is typed where none is named.
func runTalk(c *cobra.Command, v *cli.Values, o eval.Continuation, file string) error {
	in := c.InOrStdin()
	if file != "" && file != "-" {
		f, err := opened("messages", file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	name := "standard input"
	if file != "" && file != "-" {
		name = file
	}
	text, err := plaintext.Reader(in)
	if err != nil {
		return errs.Dataf("%s: %w", name, err)
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxPrompt)
	var all []*eval.Generated
	var next func() (*example.Talk, error)
	answered := func(res *eval.Generated) error {
		all = append(all, res)
		if v.JSON() {
			return nil
		}
		b, err := json.Marshal(res)
		if err == nil {
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", b)
		}
		return err
	}
	out := io.Discard
	if file != "" {
		next = conversations(lines, name)
	} else {
		_, asks := ui.Terminal(c.ErrOrStderr())
		t := &typed{lines: lines, log: c.ErrOrStderr(), prompts: in == os.Stdin && asks}
		next, answered = t.next, func(res *eval.Generated) error {
			t.talk.Answer(res.Text)
			if all = append(all, res); !v.JSON() {
				fmt.Fprintln(c.OutOrStdout())
				sumUp(c, res)
			}
			return nil
		}
		if !v.JSON() {
			out = c.OutOrStdout()
		}
	}
	err = onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) error {
		return eval.Talk(c.Context(), o, be, out, c.ErrOrStderr(), next, answered)
	})
	switch {
	case err != nil:
		return err
	case len(all) == 0 && file == "":
		return errs.Usagef("nothing was said: type messages, a line each, or give one with --prompt, --prompt-file or " +
			"--messages")
	case len(all) == 0:
		return errs.Dataf("%s: no conversation is in it; give one a line, as {\"messages\": [{\"role\": \"user\", "+
			"\"content\": \"…\"}]}", name)
	case v.JSON():
		return document(c.OutOrStdout(), map[string]any{"results": append([]*eval.Generated{}, all...)})
	}
	return nil
}

// conversations gives those of a file's lines. Empty ones are passed over.
func conversations(lines *bufio.Scanner, file string) func() (*example.Talk, error) {
	n := 0
	return func() (*example.Talk, error) {
		for lines.Scan() {
			n++
			if strings.TrimSpace(lines.Text()) == "" {
				continue
			}
			t, err := example.ReadTalk(lines.Bytes())
			if err != nil {
				return nil, errs.Dataf("%s:%d: %w", file, n, err)
			}
			t.Where, t.Replaced = fmt.Sprintf("%s:%d", file, n), plaintext.Replaced(lines.Bytes())
			return t, nil
		}
		if err := lines.Err(); err != nil {
			return nil, errs.Dataf("%s:%d: %w", file, n+1, err)
		}
		return nil, nil
	}
}

// typed is a conversation that is typed, a line a message.
type typed struct {
	lines   *bufio.Scanner
	log     io.Writer
	prompts bool // whether someone waits to be asked
	talk    example.Talk
}

func (t *typed) next() (*example.Talk, error) {
	for {
		if t.prompts {
			fmt.Fprint(t.log, "> ")
		}
		if !t.lines.Scan() {
			if t.prompts {
				fmt.Fprintln(t.log)
			}
			if err := t.lines.Err(); err != nil {
				return nil, errs.Dataf("standard input: %w", err)
			}
			return nil, nil
		}
		if strings.TrimSpace(t.lines.Text()) != "" {
			t.talk.Say(t.lines.Text())
			return &t.talk, nil
		}
	}
}
