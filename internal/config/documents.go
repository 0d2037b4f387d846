package config

import (
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Documents are the options of how documents are read.
type Documents struct {
	Format, Template, TextField string
	SkipBad, TrainOnPrompt      bool
}

// templates are the names that --template takes beside files.
var templates = []string{"auto", "llama2", "longalpaca", "llama3", "chatml", "alpaca", "mistral"}

// DocumentFlags defines them, but for what is scored.
func (d *Documents) DocumentFlags(f *pflag.FlagSet) {
	f.StringVar(&d.Format, "format", "auto", "auto (by the first document), text, alpaca (instruction, output), chat (messages, prompt and completion, …) or tokens")
	OneOf(f, "format", "auto", "text", "alpaca", "chat", "tokens")
	f.StringVar(&d.Template, "template", "auto", "of alpaca and chat: auto (by the marks in the model's chat template, else alpaca), llama2, longalpaca, llama3, chatml, alpaca, mistral, phi, granite, gemma, olmo, or a template file")
	usual(f, "template", templates...)
	f.StringVar(&d.TextField, "text-field", "text", "the field of a JSON object or the column of a table that holds the text")
	f.BoolVar(&d.SkipBad, "skip-bad", false, "skip and count malformed documents")
}

// ScoreFlags defines what of an example is scored.
func (d *Documents) ScoreFlags(f *pflag.FlagSet) {
	f.BoolVar(&d.TrainOnPrompt, "train-on-prompt", false, "score prompts too, not only answers")
}

// CheckDocuments validates them.
func (d *Documents) CheckDocuments() error {
	if d.TextField == "" {
		return errs.Usagef("--text-field: an empty name")
	}
	if d.Template == "" {
		return errs.Usagef("--template: an empty name")
	}
	return nil
}

// checkPaths refuses empty paths.
func checkPaths(flag string, paths []string) error {
	for _, p := range paths {
		if strings.TrimSpace(p) == "" {
			return errs.Usagef("--%s: an empty path", flag)
		}
	}
	return nil
}
