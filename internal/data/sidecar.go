package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
)

// sidecar is F.bin.json: what a prepared file was made of. F.bin.idx holds the documents' boundaries and masks.
type sidecar struct {
	Kind          string           `json:"longlora"`
	Program       string           `json:"program"` // the version that wrote it
	Format        string           `json:"format"`
	Template      string           `json:"template,omitempty"`
	TemplateSum   string           `json:"template_sha256,omitempty"` // of a template file
	TextField     string           `json:"text_field"`
	TrainOnPrompt bool             `json:"train_on_prompt"`
	NoSpecial     bool             `json:"no_special"`
	SkipBad       bool             `json:"skip_bad"`
	Vocab         int              `json:"vocab_size"`
	Width         int              `json:"bytes_per_id"`
	Tokenizer     Identity         `json:"tokenizer"`
	Source        string           `json:"source"` // the absolute path of --data
	Files         []ckpt.FilePrint `json:"files"`  // by their paths relative to it
	Documents     int              `json:"documents"`
	Tokens        int64            `json:"tokens"`
	Bytes         int64            `json:"bytes"` // of the text that was read, decompressed
	MaxID         int32            `json:"max_id"`
	Skipped       int              `json:"skipped"`
	Seconds       float64          `json:"seconds"`
	Bin           ckpt.FilePrint   `json:"bin"`
	Index         ckpt.FilePrint   `json:"index"`
}

const sidecarKind = "prepared tokens 1"

func sidecarPath(bin string) string { return bin + ".json" }
func indexPath(bin string) string   { return bin + ".idx" }

// readSidecar reads a token file's sidecar, nil where it is plain ids.
func readSidecar(bin string) (*sidecar, error) {
	c := &sidecar{}
	_, errIdx := os.Stat(indexPath(bin))
	if _, err := os.Stat(sidecarPath(bin)); errors.Is(err, fs.ErrNotExist) {
		if errIdx == nil {
			return nil, errs.Dataf("%s: missing, beside %s; prepare the data again", sidecarPath(bin), indexPath(bin))
		}
		return nil, nil
	}
	if err := ckpt.ReadJSON(sidecarPath(bin), c); err != nil {
		return nil, err
	}
	if c.Kind != sidecarKind {
		return nil, errs.Dataf("%s: not a description of prepared tokens that this version knows; prepare the data again", sidecarPath(bin))
	}
	if errIdx != nil {
		return nil, errs.Dataf("%s: missing, beside %s; prepare the data again", indexPath(bin), sidecarPath(bin))
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

// verify refuses a prepared file that is not what its sidecar says, or not for this model and these options.
func (c *sidecar) verify(bin string, o *Options) error {
	for _, f := range []struct {
		path string
		was  ckpt.FilePrint
	}{{bin, c.Bin}, {indexPath(bin), c.Index}} {
		is, err := ckpt.PrintFile(f.path, f.was.Name)
		if err != nil {
			return err
		}
		if is != f.was {
			return errs.Dataf("%s: not the file that %s describes; prepare the data again", f.path, sidecarPath(bin))
		}
	}
	switch {
	case c.Width != widthFor(o.Vocab) || int(c.MaxID) >= o.Vocab:
		return errs.Dataf("%s: prepared for a vocabulary of %d, the model's is %d; prepare the data with this model", bin, c.Vocab, o.Vocab)
	case o.Encoder == nil && o.Tokenizer != nil && o.Tokenizer.SHA256 != "" && o.Tokenizer.SHA256 != c.Tokenizer.SHA256,
		o.Encoder != nil && !o.Tokenizer.equal(&c.Tokenizer):
		return errs.Dataf("%s: prepared with another tokenizer (%s) than the model's (%s); prepare the data with this model", bin, &c.Tokenizer, o.Tokenizer)
	case o.TextNamed && c.Format == Text && o.TextField != c.TextField:
		return errs.Usagef("--text-field %s: %s was prepared with %s", o.TextField, bin, c.TextField)
	}
	if t := o.Template; t != "" && t != Auto && c.examples() {
		sum, err := TemplateSum(t)
		if err != nil {
			return err
		}
		if sum != c.TemplateSum || sum == "" && t != c.Template {
			return errs.Usagef("--template %s: %s was prepared with %s", t, bin, c.Template)
		}
	}
	return c.sourcesUnchanged(bin)
}

func (id *Identity) equal(b *Identity) bool {
	return id.SHA256 == b.SHA256 && id.BOS == b.BOS && id.EOS == b.EOS
}

// sourcesUnchanged refuses prepared data whose sources are here and have changed; they may well be elsewhere.
func (c *sidecar) sourcesUnchanged(bin string) error {
	for i, p := range c.paths() {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		is, err := ckpt.PrintFile(p, c.Files[i].Name)
		if err != nil {
			return err
		}
		if is != c.Files[i] {
			return errs.Dataf("%s: %s has changed since it was prepared; prepare the data again", bin, p)
		}
	}
	return nil
}

// indexMagic begins an index; then, as uint64, documents, spans, and 1 where they are examples, 0 for text. The
// documents' records and the spans follow: see store.
const (
	indexMagic  = "LLINDEX1"
	indexHeader = 32
)

func indexHead(count int, spans uint64, examples bool) []byte {
	b := []byte(indexMagic)
	kind := uint64(0)
	if examples {
		kind = 1
	}
	for _, v := range []uint64{uint64(count), spans, kind} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// openPrepared maps a prepared file.
func openPrepared(bin string, c *sidecar) (*store, error) {
	ids, err := mapPath(bin)
	if err != nil {
		return nil, err
	}
	s := &store{ids: ids, width: c.Width, examples: c.examples(), tokens: c.Tokens, count: c.Documents}
	idx, err := mapPath(indexPath(bin))
	if err != nil {
		s.close()
		return nil, err
	}
	s.mapped = idx
	bad := func(what string) (*store, error) {
		s.close()
		return nil, errs.Dataf("%s: %s; prepare the data again", indexPath(bin), what)
	}
	if len(idx) < indexHeader || !bytes.HasPrefix(idx, []byte(indexMagic)) {
		return bad("not an index of prepared tokens")
	}
	u64 := func(i int) uint64 { return binary.LittleEndian.Uint64(idx[i:]) }
	if c.Width != 2 && c.Width != 4 || int64(len(ids)) != c.Tokens*int64(c.Width) || u64(8) != uint64(c.Documents) || (u64(24) == 1) != c.examples() {
		return bad("it does not agree with " + sidecarPath(bin))
	}
	docs, rest := u64(8), uint64(len(idx)-indexHeader)
	size := uint64(s.recordSize())
	if docs > rest/size || u64(16) > rest/spanRecord || docs*size+u64(16)*spanRecord != rest {
		return bad(fmt.Sprintf("%d bytes do not hold its %d documents", len(idx), docs))
	}
	s.docs = idx[indexHeader : indexHeader+docs*size]
	s.spans = idx[indexHeader+docs*size:]
	if err := s.check(indexPath(bin)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func mapPath(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	defer f.Close()
	return mapped(f)
}
