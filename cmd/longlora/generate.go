package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/data/plaintext"
	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/files"
	"longlora/internal/ops"
	"longlora/internal/ui"
)

func newGenerate() *cobra.Command {
	return command("generate --model DIR --prompt TEXT", "Continue a prompt, or talk",
		`Continue a prompt, greedily unless --temperature says otherwise; text appears as it is made. Long prompts are
read in tiles, keys and values are kept, and attention is full. With --chat and no prompt each line of standard input
is a message, and the conversation goes on until its end (Ctrl-D). --messages answers conversations of a file.`,
		`# a long prompt from a file, the most probable words
longlora generate --model merged --prompt-file question.txt --max-tokens 200

# a chat model and an adapter, drawn from the more probable words
longlora generate --model base --adapter run --chat --prompt "Who wrote Emma?" --temperature 0.7 --top-p 0.9

# talk
longlora generate --model merged --chat --system "Be brief."

# conversations, one JSON object a line with messages as in training data; an answer a line
longlora generate --model merged --messages asked.jsonl > answered.jsonl`,
		func(c *cobra.Command, v *cli.Values) error {
			o, p, err := v.Generate()
			if err != nil {
				return err
			}
			if o.Chat && p.Text == "" && p.File == "" {
				return runTalk(c, v, o, p.Messages)
			}
			prompt, err := readPrompt(p.Text, p.File, c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if v.JSON() {
				out = io.Discard
			}
			return onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) error {
				res, err := eval.Generate(c.Context(), o, prompt, be, out, c.ErrOrStderr())
				if err != nil {
					return err
				}
				if v.JSON() {
					return document(c.OutOrStdout(), res)
				}
				fmt.Fprintln(out)
				sumUp(c, res)
				return nil
			})
		})
}

// sumUp says how an answer was made.
func sumUp(c *cobra.Command, res *eval.Generated) {
	fmt.Fprintf(c.ErrOrStderr(), "%s after %d of the prompt (%.2f s), %.1f tok/s, ended by %s\n",
		ui.Count(res.Tokens, "token"), res.PromptTokens, res.PrefillS, res.TokPerS, res.Stop)
}

// maxPrompt is more text than 2^24 tokens hold, in bytes. A prompt may come from a pipe, which may have no end.
const maxPrompt = 256 << 20

// opened is a file to read from, which may be a pipe.
func opened(option errs.Option, path string) (*os.File, error) {
	open := os.Open // a pipe's name will do
	switch st, err := os.Stat(path); {
	case err == nil && st.IsDir():
		return nil, errs.Dataf("%s %s: a folder where a file is wanted", option, path)
	case err == nil && st.Mode().IsRegular():
		open = files.Open // which knows a git-lfs pointer
	}
	f, err := open(path)
	if err != nil {
		return nil, errs.Dataf("%s: %w", option, err)
	}
	return f, nil
}

// readPrompt is the prompt as it was given or, where a file is named, the file's or standard input's.
func readPrompt(prompt, file string, stdin io.Reader, log io.Writer) (string, error) {
	if file != "" {
		if file != "-" {
			f, err := opened("prompt-file", file)
			if err != nil {
				return "", err
			}
			defer f.Close()
			stdin = f
		}
		text, note, err := plaintext.Read(stdin, maxPrompt)
		if err != nil {
			return "", errs.Dataf("--prompt-file %s: %w", file, err)
		}
		if note != "" {
			fmt.Fprintf(log, "note: --prompt-file %s: %s\n", file, note)
		}
		prompt = strings.TrimSuffix(text, "\n") // which editors add
	}
	if strings.TrimSpace(prompt) == "" {
		return "", errs.Usagef("the prompt is empty; give some text with --prompt or --prompt-file")
	}
	return prompt, nil
}
