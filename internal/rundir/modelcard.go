package rundir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
)

// CardFile is a model card, as the Hugging Face Hub shows it.
const CardFile = "README.md"

// Card is what a model card says of a model.
type Card struct {
	Base      string // as it was given: a folder, or a name on the Hub
	Library   string // that loads it: peft or transformers
	Tags      []string
	Name      string
	Is        string // one sentence: what it is
	Positions Positions
	Command   string // that makes it
	Options   map[string]string
	Data      []files.Fingerprint
	EvalData  []files.Fingerprint
	Results   []string // a table's lines
	Seconds   float64
	Tokens    int64
	Version   string
}

// cardMark ends a card that this program wrote: the hash of all before it. One that was changed since is its user's.
var cardMark = regexp.MustCompile(`<!-- longlora model card, sha256 ([0-9a-f]{64}) -->\n$`)

// WriteCard writes a folder's card. One that is there stays where it is not as this program wrote it; then written is
// false.
func WriteCard(dir string, c Card) (written bool, err error) {
	path := filepath.Join(dir, CardFile)
	old, err := files.Read(path, 1<<24)
	switch {
	case err == nil:
		m := cardMark.FindSubmatchIndex(old)
		if m == nil || string(old[m[2]:m[3]]) != fmt.Sprintf("%x", sha256.Sum256(old[:m[0]])) {
			return false, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return false, errs.Dataf("%w", err)
	}
	text := c.text()
	text += fmt.Sprintf("<!-- longlora model card, sha256 %x -->\n", sha256.Sum256([]byte(text)))
	return true, files.WriteAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// text is the card without its mark.
func (c *Card) text() string {
	var b strings.Builder
	b.WriteString("---\n")
	if hub.IsName(c.Base) && !files.Exists(c.Base) {
		fmt.Fprintf(&b, "base_model: %s\n", c.Base)
	}
	fmt.Fprintf(&b, "library_name: %s\npipeline_tag: text-generation\ntags:\n", c.Library)
	for _, t := range c.Tags {
		fmt.Fprintf(&b, "- %s\n", t)
	}
	b.WriteString("# license: yours to say; the base's terms hold for what is made of it\n---\n\n")
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", c.Name, c.Is)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| base | `%s` |\n| context | %d tokens |\n| positions | `%s` |\n", called(c.Base),
		c.Positions.MaxPos, c.Positions.Record)
	if c.Positions.Window != nil {
		fmt.Fprintf(&b, "| sliding windows | %s |\n", *c.Positions.Window)
	}
	if c.Tokens > 0 {
		fmt.Fprintf(&b, "| trained on | %d tokens in %.0f s |\n", c.Tokens, c.Seconds)
	}
	fmt.Fprintf(&b, "| made by | longlora %s |\n", c.Version)
	if len(c.Results) > 0 {
		b.WriteString("\n## Results\n\n" + strings.Join(c.Results, "\n") + "\n")
	}
	for _, d := range []struct {
		title string
		list  []files.Fingerprint
	}{{"Data", c.Data}, {"Validation data", c.EvalData}} {
		if len(d.list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| file | bytes | sha256 |\n|---|---|---|\n", d.title)
		for i, f := range d.list {
			if i == 20 {
				fmt.Fprintf(&b, "| … %d more, in %s | | |\n", len(d.list)-i, RecordFile)
				break
			}
			of := ""
			if f.Sampled {
				of = " of its size and samples"
			}
			fmt.Fprintf(&b, "| `%s` | %d | `%s`%s |\n", f.Name, f.Size, f.SHA256, of)
		}
	}
	fmt.Fprintf(&b, "\n## How it was made\n\n```\n%s\n```\n\n", c.Command)
	if len(c.Options) > 0 {
		b.WriteString("The recipe, in full:\n\n```yaml\n")
		for _, name := range slices.Sorted(maps.Keys(c.Options)) {
			fmt.Fprintf(&b, "%s: %s\n", name, c.Options[name])
		}
		b.WriteString("```\n\n")
	}
	return b.String()
}

// called is a model's name without the folders that it lies in on some machine.
func called(base string) string {
	if hub.IsName(base) && !files.Exists(base) {
		return base
	}
	if abs, err := filepath.Abs(base); err == nil {
		base = abs
	}
	return filepath.Base(base)
}
