package folder

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"longlora/internal/files"
)

// card is the head of a data set's README.md on the Hub, as far as it says which files are of which split
// (https://huggingface.co/docs/datasets/repository_structure).
type card struct {
	Configs []struct {
		Dir   string    `yaml:"data_dir"`
		Files dataFiles `yaml:"data_files"`
	} `yaml:"configs"`
}

// dataFiles are patterns of files with the names of their splits: in a card one pattern, several, or the like for each
// split.
type dataFiles []splitFiles

type splitFiles struct {
	Split string   `yaml:"split"`
	Paths patterns `yaml:"path"`
}

// patterns are one or several.
type patterns []string

func (p *patterns) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*p = patterns{n.Value}
		return nil
	}
	return n.Decode((*[]string)(p))
}

func (d *dataFiles) UnmarshalYAML(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode:
		return n.Decode((*[]splitFiles)(d))
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			s := splitFiles{Split: n.Content[i].Value}
			if err := n.Content[i+1].Decode(&s.Paths); err != nil {
				return err
			}
			*d = append(*d, s)
		}
		return nil
	}
	s := splitFiles{Split: "train"} // what has no name is that
	*d = dataFiles{s}
	return n.Decode(&(*d)[0].Paths)
}

// headOf is what stands between the first line of a card and the next like it, nil where there is none.
func headOf(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	rest, ok := bytes.CutPrefix(text, []byte("---\n"))
	head, _, closed := bytes.Cut(rest, []byte("\n---"))
	if !ok || !closed {
		return nil
	}
	return head
}

// longestHead is how much of a card is looked at, and mostLooks how often a file is held against a pattern of it, some
// ten seconds: a card of 4,000 patterns beside as many files has as many.
const longestHead, mostLooks = 1 << 20, 1 << 24

// patterns is how many the card has.
func (c *card) patterns() (n int) {
	for _, config := range c.Configs {
		for _, s := range config.Files {
			n += len(s.Paths)
		}
	}
	return n
}

// byCard is the rule that a folder's card gives: the split of a file that one of its patterns names, of several the one
// to train on. A card that says nothing, or is none, gives a rule that knows no file.
func (d *listing) byCard() func(file string) split {
	var c card
	if f, err := files.Open(d.at("README.md")); err == nil {
		text, err := io.ReadAll(io.LimitReader(f, longestHead))
		f.Close()
		if err == nil {
			err = yaml.Unmarshal(headOf(text), &c)
		}
		if n := c.patterns(); err == nil && n*len(d.files) > mostLooks {
			err = fmt.Errorf("%d patterns for %d files", n, len(d.files))
		}
		if err != nil {
			d.note("README.md: which files are of which split is not read from it: %v", err)
			c = card{}
		}
	}
	known := map[string]split{}
	for _, config := range c.Configs {
		for _, s := range config.Files {
			is := splitIn(s.Split, false)
			for _, p := range s.Paths {
				names := glob(path.Join(config.Dir, p))
				for _, f := range d.files {
					if was := known[f]; is != noSplit && (was == noSplit || is < was) && names.MatchString(f) {
						known[f] = is
					}
				}
			}
		}
	}
	return func(file string) split { return known[file] }
}

// wild are the parts of a pattern that stand for more than themselves.
var wild = regexp.MustCompile(`\*\*/|\*\*|\*|\?|\[[^\]/]+\]`)

// glob is a pattern of paths as a regular expression.
func glob(pattern string) *regexp.Regexp {
	means := map[string]string{"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
	var b strings.Builder
	at := 0
	for _, w := range wild.FindAllStringIndex(pattern, -1) {
		b.WriteString(regexp.QuoteMeta(pattern[at:w[0]]))
		at = w[1]
		if m, ok := means[pattern[w[0]:w[1]]]; ok {
			b.WriteString(m)
			continue
		}
		b.WriteString(class(pattern[w[0]+1 : w[1]-1]))
	}
	b.WriteString(regexp.QuoteMeta(pattern[at:]))
	return regexp.MustCompile("^" + b.String() + "$")
}

// class is what stands in brackets in a pattern: characters, ranges of them, or after ! what is none of them. What is
// no class stands for itself.
func class(chars string) string {
	not, rest := "", chars
	if r, ok := strings.CutPrefix(chars, "!"); ok {
		not, rest = "^", r
	}
	expression := "[" + not + strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`).Replace(rest) + "]"
	if _, err := regexp.Compile(expression); err != nil {
		return regexp.QuoteMeta("[" + chars + "]")
	}
	return expression
}
