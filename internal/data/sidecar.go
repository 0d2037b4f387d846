package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"longlora/internal/data/datafile"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/proc"
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

// verify refuses a prepared file that is not for this model and these options.
func (c *sidecar) verify(bin string, o *Options) error {
	switch {
	case c.Width != widthFor(o.Vocab) || int(c.MaxID) >= o.Vocab:
		return errs.Dataf("%s: prepared for a vocabulary of %d, the model's is %d; prepare the data with this model", bin,
			c.Vocab, o.Vocab)
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

func (id *Identity) equal(b *Identity) bool {
	return id.SHA256 == b.SHA256 && id.Configured == b.Configured && id.BOS == b.BOS && id.EOS == b.EOS
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

// openPrepared maps a prepared file, once all of it was found to be what its sidecar says, every id in the vocabulary.
func openPrepared(bin string, c *sidecar, vocab int) (*store, error) {
	another := func(path string) error {
		return errs.Dataf("%s: not the file that %s describes; prepare the data again", path, datafile.SidecarPath(bin))
	}
	if c.Width != widthFor(vocab) {
		return nil, errs.Dataf("%s: %d bytes an id, where a vocabulary of %d has %d; prepare the data with this model", bin,
			c.Width, vocab, widthFor(vocab))
	}
	f, err := files.Open(bin)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, files.Fault(bin, err)
	} else if st.Size() != c.Bin.Size {
		return nil, another(bin)
	}
	h := sha256.New()
	if err := checkTokens(f, c.Width, vocab, h); err != nil {
		return nil, err
	}
	if hex.EncodeToString(h.Sum(nil)) != c.Bin.SHA256 {
		return nil, another(bin)
	}
	x, err := files.Open(datafile.IndexPath(bin))
	if err != nil {
		return nil, err
	}
	defer x.Close()
	s := &store{width: c.Width, examples: c.examples(), tokens: c.Tokens, count: c.Documents}
	if s.ids, err = proc.Map(f); err != nil {
		return nil, err
	}
	idx, err := proc.Map(x)
	if err != nil {
		s.close()
		return nil, err
	}
	s.mapped = idx
	bad := func(what string) (*store, error) {
		s.close()
		return nil, errs.Dataf("%s: %s; prepare the data again", datafile.IndexPath(bin), what)
	}
	if sum := sha256.Sum256(idx); hex.EncodeToString(sum[:]) != c.Index.SHA256 {
		s.close()
		return nil, another(datafile.IndexPath(bin))
	}
	if len(idx) < indexHeader || !bytes.HasPrefix(idx, []byte(indexMagic)) {
		return bad("not an index of prepared tokens")
	}
	u64 := func(i int) uint64 { return binary.LittleEndian.Uint64(idx[i:]) }
	if int64(len(s.ids)) != c.Tokens*int64(c.Width) || u64(8) != uint64(c.Documents) || (u64(24) == 1) != c.examples() {
		return bad("it does not agree with " + datafile.SidecarPath(bin))
	}
	docs, rest := u64(8), uint64(len(idx)-indexHeader)
	size := uint64(s.recordSize())
	if docs > rest/size || u64(16) > rest/spanRecord || docs*size+u64(16)*spanRecord != rest {
		return bad(fmt.Sprintf("%d bytes do not hold its %d documents", len(idx), docs))
	}
	s.docs = idx[indexHeader : indexHeader+docs*size]
	s.spans = idx[indexHeader+docs*size:]
	if err := s.check(datafile.IndexPath(bin)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}
