package datafile

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	"longlora/internal/data/plaintext"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// Kind is how a file holds its documents, as its name tells.
type Kind int

// The kinds; each but tokens may be compressed.
const (
	Unknown   Kind = iota
	Text           // one document
	Lines          // one JSON object a line
	Objects        // a JSON array of objects, or objects one after another
	Parquet        // parquet rows
	Delimited      // rows of text, cells separated by commas or tabs
	Arrow          // rows as Arrow lays them out
	Tokens         // ids as they are
)

// Known are the names by which a data file is known, for messages.
const Known = ".txt, .md, .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .feather (each also .gz or " +
	".zst) or .bin"

// KindOf reads a file's name: what it holds and how it is compressed ("", ".gz", ".zst").
func KindOf(path string) (k Kind, compressed string) {
	name := strings.ToLower(path)
	if ext := filepath.Ext(name); ext == ".gz" || ext == ".zst" {
		name, compressed = strings.TrimSuffix(name, ext), ext
	}
	switch filepath.Ext(name) {
	case ".txt", ".md":
		k = Text
	case ".jsonl", ".ndjson":
		k = Lines
	case ".json":
		k = Objects
	case ".parquet":
		k = Parquet
	case ".arrow", ".feather":
		k = Arrow
	case ".csv", ".tsv":
		k = Delimited
	case ".bin":
		if compressed == "" {
			k = Tokens
		}
	}
	return k, compressed
}

// Structured reports whether a kind holds records with fields.
func (k Kind) Structured() bool { return k == Lines || k == Objects || k.Table() }

// Table reports whether a kind holds rows with columns.
func (k Kind) Table() bool { return k == Parquet || k == Delimited || k == Arrow }

// SidecarPath is where prepare writes what a token file was made of.
func SidecarPath(bin string) string { return bin + ".json" }

// IndexPath is where prepare writes the bounds of a token file's documents.
func IndexPath(bin string) string { return bin + ".idx" }

// UnknownKind is the fault of a file whose name does not say how to read it, with what it is where its first bytes
// tell.
func UnknownKind(path string) error {
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, plaintext.HeadBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return files.Fault(path, err)
	}
	if compression(head[:n]) != "" {
		return errs.Dataf("%s: %s data of a kind that its name does not say; name it .txt%[2]s, .jsonl%[2]s or what it is",
			path, compression(head[:n]))
	}
	if what := plaintext.NotText(head[:n]); what != "" {
		return errs.Dataf("%s: not a %s file, but %s", path, Known, what)
	}
	return errs.Dataf("%s: not a %s file; if it holds plain text, pass %s text", path, Known, errs.Option("format"))
}
