package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"longlora/internal/data/datafile"
	"longlora/internal/data/store"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// sidecar is F.bin.json: what a prepared file was made of. F.bin.idx holds the documents' boundaries and masks.
type sidecar struct {
	Kind          string              `json:"longlora"`
	Program       string              `json:"program"` // the version that wrote it
	Format        string              `json:"format"`
	Template      string              `json:"template,omitempty"`
	TemplateSum   string              `json:"template_sha256,omitempty"` // of a template file
	TextField     string              `json:"text_field"`
	TrainOnPrompt bool                `json:"train_on_prompt"`
	NoSpecial     bool                `json:"no_special"`
	SkipBad       bool                `json:"skip_bad"`
	Vocab         int                 `json:"vocab_size"`
	Width         int                 `json:"bytes_per_id"`
	Tokenizer     Identity            `json:"tokenizer"`
	Source        string              `json:"source"` // the absolute path of --data
	Files         []files.Fingerprint `json:"files"`  // by their paths relative to it
	Documents     int                 `json:"documents"`
	Tokens        int64               `json:"tokens"`
	Bytes         int64               `json:"bytes"` // of the text that was read, decompressed
	MaxID         int32               `json:"max_id"`
	Skipped       int                 `json:"skipped"`
	Seconds       float64             `json:"seconds"`
	Bin           files.Fingerprint   `json:"bin"`
	Index         files.Fingerprint   `json:"index"`
}

const (
	preparedKind = "prepared tokens "
	sidecarKind  = preparedKind + "2"
)

// readSidecar reads a token file's sidecar, nil where it is plain ids.
func readSidecar(bin string) (*sidecar, error) {
	c := &sidecar{}
	_, errIdx := os.Stat(datafile.IndexPath(bin))
	if _, err := os.Stat(datafile.SidecarPath(bin)); errors.Is(err, fs.ErrNotExist) {
		if errIdx == nil {
			return nil, errs.Dataf("%s: missing, beside %s; prepare the data again", datafile.SidecarPath(bin),
				datafile.IndexPath(bin))
		}
		return nil, nil
	}
	if err := files.ReadJSON(datafile.SidecarPath(bin), c); err != nil {
		return nil, err
	}
	if c.Kind != sidecarKind {
		return nil, errs.Dataf("%s: not a description of prepared tokens that this version knows; prepare the data again",
			datafile.SidecarPath(bin))
	}
	if errIdx != nil {
		return nil, errs.Dataf("%s: missing, beside %s; prepare the data again", datafile.IndexPath(bin),
			datafile.SidecarPath(bin))
	}
	return c, nil
}

// paths are the files that the tokens were made of.
func (c *sidecar) paths() []string {
	out := make([]string, len(c.Files))
	for i, f := range c.Files {
		out[i] = c.Source
		if f.Name != "." {
			out[i] = filepath.Join(c.Source, f.Name)
		}
	}
	return out
}

// examples reports whether the documents are instruction examples.
func (c *sidecar) examples() bool { return c.Format == Alpaca || c.Format == Chat }

// prepared is what the file of ids must be.
func (c *sidecar) prepared() store.Prepared {
	return store.Prepared{Width: c.Width, Documents: c.Documents, Tokens: c.Tokens, Examples: c.examples(),
		BinSize: c.Bin.Size, BinSHA256: c.Bin.SHA256, IndexSHA256: c.Index.SHA256}
}

// verify refuses a prepared file that is not for this model and these options.
func (c *sidecar) verify(bin string, o *Options) error {
	switch {
	case c.Width != store.WidthFor(o.Vocab) || int(c.MaxID) >= o.Vocab:
		return errs.Dataf("%s: prepared for a vocabulary of %d, the model's is %d; prepare the data with this model", bin,
			c.Vocab, o.Vocab)
	case o.Encoder != nil && o.Tokenizer.exceptBOS(&c.Tokenizer) && o.Tokenizer.BOS != c.Tokenizer.BOS:
		return errs.Usagef("%s: prepared with %s in front of a document, where now it is %s; give %s as it was prepared, or "+
			"prepare it again", bin, c.Tokenizer.begins(), o.Tokenizer.begins(), errs.Option("add-bos"))
	case o.Encoder == nil && o.Tokenizer != nil && o.Tokenizer.SHA256 != "" && o.Tokenizer.SHA256 != c.Tokenizer.SHA256,
		o.Encoder != nil && !o.Tokenizer.equal(&c.Tokenizer):
		return errs.Dataf("%s: prepared with another tokenizer (%s) than the model's (%s); prepare the data with this model",
			bin, &c.Tokenizer, o.Tokenizer)
	case o.TextNamed && c.Format == Text && o.TextField != c.TextField:
		return errs.Usagef("%s %s: %s was prepared with %s", errs.Option("text-field"), o.TextField, bin, c.TextField)
	}
	if !c.examples() {
		o.idleExample(bin, "is text")
	} else if t := o.Template; t != "" && t != Auto {
		sum, err := template.Sum(t)
		if err != nil {
			return err
		}
		if sum != c.TemplateSum || sum == "" && t != c.Template {
			return errs.Usagef("%s %s: %s was prepared with %s", errs.Option("template"), t, bin, c.Template)
		}
	}
	return c.sourcesUnchanged(bin, o)
}

func (id *Identity) equal(b *Identity) bool { return id.exceptBOS(b) && id.BOS == b.BOS }

// exceptBOS reports whether two tokenizers differ in no more than what stands in front of a text.
func (id *Identity) exceptBOS(b *Identity) bool {
	return id.SHA256 == b.SHA256 && id.Configured == b.Configured && id.EOS == b.EOS
}

// begins names what stands in front of a text.
func (id *Identity) begins() string {
	if id.BOS < 0 {
		return "no BOS"
	}
	return fmt.Sprintf("token %d", id.BOS)
}

// sourcesUnchanged refuses prepared data whose sources are here and have changed; they may well be elsewhere.
func (c *sidecar) sourcesUnchanged(bin string, o *Options) error {
	for i, p := range c.paths() {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		is, err := files.Sample(p, c.Files[i].Name)
		if err != nil {
			return err
		}
		switch is.Since(c.Files[i]) {
		case files.Changed:
			return errs.Dataf("%s: %s has changed since it was prepared; prepare the data again", bin, p)
		case files.Touched:
			o.note("%s: %s was written or copied after it was prepared; its size and samples of it are the same", bin, p)
		}
	}
	return nil
}

// describes reports whether c, but for what is counted, says what want says.
func (c *sidecar) describes(want *sidecar) bool {
	same := func(is, was files.Fingerprint) bool { return is.Name == was.Name && is.Since(was) == files.Unchanged }
	if !slices.EqualFunc(c.Files, want.Files, same) {
		return false
	}
	a, b := *c, *want
	a.Files, b.Files = nil, nil
	a.Documents, a.Tokens, a.Bytes, a.MaxID, a.Skipped, a.Seconds = 0, 0, 0, 0, 0, 0
	a.Bin, a.Index = files.Fingerprint{}, files.Fingerprint{}
	return reflect.DeepEqual(&a, &b)
}
