// Package data turns files into rows of tokens: it reads documents, packs them, orders rows, and does all of it
// the same way every time, so that a run can go on where it stopped.
package data

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"github.com/klauspost/compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
)

// Encoder turns text into ids; package tokenizer has it.
type Encoder interface {
	Encode(text string) []int32
	BOS() (int32, bool)
	EOS() (int32, bool)
}

// Options say what to read and how.
type Options struct {
	Paths     []string // --data, each perhaps with a weight
	Format    string   // auto, text, tokens
	Pack      string   // auto, concat, cut, pad
	Ctx       int
	TextField string
	SkipBad   bool
	Vocab     int
	Encoder   Encoder // nil when there is no tokenizer
	NoEncoder error   // why there is none
	HoldDocs  float64 // share of the documents, at the end, that a set leaves out and a stream is
}

// source is one --data: its files and their documents' tokens.
type source struct {
	path    string
	weight  float64 // 0: all rows
	files   []string
	tokens  bool // ids as they are, one stream without documents
	ids     []uint32
	docs    []int // document starts; the last entry is len(ids)
	skipped int
}

// splitWeight reads PATH:0.3; the number is a weight only when no file has the whole name.
func splitWeight(s string) (path string, weight float64, err error) {
	if _, err := os.Stat(s); err == nil {
		return s, 0, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, nil
	}
	w, err := strconv.ParseFloat(s[i+1:], 64)
	if err != nil {
		return s, 0, nil
	}
	if !(w > 0) || w > 1e6 {
		return "", 0, errs.Usagef("--data %s: the weight %v is not a positive number", s, w)
	}
	return s[:i], w, nil
}

// openSource lists a source's files, sorted by the bytes of their path relative to it.
func openSource(arg string) (*source, error) {
	path, w, err := splitWeight(arg)
	if err != nil {
		return nil, err
	}
	s := &source{path: path, weight: w}
	st, err := os.Stat(path)
	if err != nil {
		return nil, errs.Dataf("--data: %w", err)
	}
	if !st.IsDir() {
		s.files = []string{path}
		return s, nil
	}
	var rel []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if kind(p) != "" {
			r, err := filepath.Rel(path, p)
			rel = append(rel, r)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, errs.Dataf("--data %s: %w", path, err)
	}
	sort.Strings(rel)
	for _, r := range rel {
		s.files = append(s.files, filepath.Join(path, r))
	}
	if len(s.files) == 0 {
		return nil, errs.Dataf("--data %s: the folder holds no .txt, .md, .jsonl (each also .gz or .zst) or .bin file", path)
	}
	return s, nil
}

// kind is what a file's name says it holds: text, jsonl, bin, or nothing known.
func kind(path string) string {
	name := strings.TrimSuffix(strings.TrimSuffix(path, ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".txt", ".md":
		return "text"
	case ".jsonl":
		return "jsonl"
	case ".bin":
		if name == path {
			return "bin"
		}
	}
	return ""
}

// read fills in the source's tokens.
func (s *source) read(o Options) error {
	for _, f := range s.files {
		k := kind(f)
		if o.Format == "tokens" {
			k = "bin"
		}
		var err error
		switch {
		case k == "bin" && o.Format == "text":
			return errs.Usagef("--format text: %s holds token ids", f)
		case k == "bin":
			s.tokens = true
			err = s.readTokens(f, o.Vocab)
		case k == "":
			return errs.Dataf("%s: neither .txt, .md, .jsonl (each also .gz or .zst) nor .bin", f)
		case o.Encoder == nil:
			return o.NoEncoder
		default:
			err = s.readText(f, k, o)
		}
		if err != nil {
			return err
		}
	}
	s.docs = append(s.docs, len(s.ids))
	return nil
}

// readTokens reads ids, little-endian uint16, or uint32 for large vocabularies.
func (s *source) readTokens(path string, vocab int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	size := 2
	if vocab > 1<<16 {
		size = 4
	}
	if len(b)%size != 0 {
		return errs.Dataf("%s: %d bytes are no whole number of %d-byte token ids", path, len(b), size)
	}
	if len(s.docs) == 0 {
		s.docs = append(s.docs, 0)
	}
	for i := 0; i < len(b); i += size {
		id := uint32(binary.LittleEndian.Uint16(b[i:]))
		if size == 4 {
			id = binary.LittleEndian.Uint32(b[i:])
		}
		if int64(id) >= int64(vocab) {
			return errs.Dataf("%s: token %d at byte %d is outside the vocabulary of %d; the file is of another tokenizer", path, id, i, vocab)
		}
		s.ids = append(s.ids, id)
	}
	return nil
}

// readText reads documents: a whole text file, or the lines of a JSONL file.
func (s *source) readText(path, kind string, o Options) error {
	f, err := os.Open(path)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	defer f.Close()
	r, err := decompress(f, path)
	if err != nil {
		return err
	}
	if kind == "text" {
		b, err := io.ReadAll(r)
		if err != nil {
			return errs.Dataf("%s: %w", path, err)
		}
		return s.add(string(b), path, o)
	}
	br := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			text, bad := field(line, o.TextField)
			switch {
			case bad == "":
				if err := s.add(text, path, o); err != nil {
					return err
				}
			case o.SkipBad:
				s.skipped++
			default:
				return errs.Dataf("%s:%d: %s; mend the line, or pass --skip-bad", path, n, bad)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errs.Dataf("%s: %w", path, err)
		}
	}
}

// field is one string of a JSON object; bad says what is wrong instead.
func field(line []byte, name string) (text, bad string) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(line, &m); err != nil {
		return "", "not a JSON object: " + err.Error()
	}
	raw, ok := m[name]
	if !ok {
		return "", "no field " + strconv.Quote(name) + " (--text-field)"
	}
	if err := json.Unmarshal(raw, &text); err != nil || string(raw) == "null" {
		return "", "field " + strconv.Quote(name) + " is not a string"
	}
	return text, ""
}

func decompress(f io.Reader, path string) (io.Reader, error) {
	switch filepath.Ext(path) {
	case ".gz":
		r, err := gzip.NewReader(f)
		if err != nil {
			return nil, errs.Dataf("%s: %w", path, err)
		}
		return r, nil
	case ".zst":
		r, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, errs.Dataf("%s: %w", path, err)
		}
		return r.IOReadCloser(), nil
	}
	return f, nil
}

// add appends a document: BOS where the tokenizer adds it, the text, EOS.
func (s *source) add(text, path string, o Options) error {
	s.docs = append(s.docs, len(s.ids))
	if id, ok := o.Encoder.BOS(); ok {
		s.ids = append(s.ids, uint32(id))
	}
	for _, id := range o.Encoder.Encode(text) {
		if int(id) >= o.Vocab {
			return errs.Dataf("%s: the tokenizer gives token %d, outside the model's vocabulary of %d", path, id, o.Vocab)
		}
		s.ids = append(s.ids, uint32(id))
	}
	if id, ok := o.Encoder.EOS(); ok {
		s.ids = append(s.ids, uint32(id))
	}
	return nil
}
