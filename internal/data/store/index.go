package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/proc"
)

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

// Prepared is what the sidecar of a prepared file says of it, hashes in hexadecimal.
type Prepared struct {
	Width       int // bytes of an id
	Documents   int
	Tokens      int64
	Examples    bool  // its documents are instruction examples
	BinSize     int64 // bytes of the file of ids
	BinSHA256   string
	IndexSHA256 string
}

// OpenPrepared maps a prepared file of ids, bin, and its index, once all of both was found to be what the sidecar says,
// c, and every id in the vocabulary; a data error names the file that is not. The store must be closed.
func OpenPrepared(bin string, c Prepared, vocab int) (*Store, error) {
	another := func(path string) error {
		return errs.Dataf("%s: not the file that %s describes; prepare the data again", path, datafile.SidecarPath(bin))
	}
	if c.Width != WidthFor(vocab) {
		return nil, errs.Dataf("%s: %d bytes an id, where a vocabulary of %d has %d; prepare the data with this model", bin,
			c.Width, vocab, WidthFor(vocab))
	}
	f, err := files.Open(bin)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, files.Fault(bin, err)
	} else if st.Size() != c.BinSize {
		return nil, another(bin)
	}
	h := sha256.New()
	if err := checkTokens(f, c.Width, vocab, h); err != nil {
		return nil, err
	}
	if hex.EncodeToString(h.Sum(nil)) != c.BinSHA256 {
		return nil, another(bin)
	}
	x, err := files.Open(datafile.IndexPath(bin))
	if err != nil {
		return nil, err
	}
	defer x.Close()
	s := &Store{width: c.Width, Examples: c.Examples, Tokens: c.Tokens, Count: c.Documents}
	if s.ids, err = proc.Map(f); err != nil {
		return nil, err
	}
	idx, err := proc.Map(x)
	if err != nil {
		s.Close()
		return nil, err
	}
	s.mapped = idx
	bad := func(what string) (*Store, error) {
		s.Close()
		return nil, errs.Dataf("%s: %s; prepare the data again", datafile.IndexPath(bin), what)
	}
	if sum := sha256.Sum256(idx); hex.EncodeToString(sum[:]) != c.IndexSHA256 {
		s.Close()
		return nil, another(datafile.IndexPath(bin))
	}
	if len(idx) < indexHeader || !bytes.HasPrefix(idx, []byte(indexMagic)) {
		return bad("not an index of prepared tokens")
	}
	u64 := func(i int) uint64 { return binary.LittleEndian.Uint64(idx[i:]) }
	if int64(len(s.ids)) != c.Tokens*int64(c.Width) || u64(8) != uint64(c.Documents) || (u64(24) == 1) != c.Examples {
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
		s.Close()
		return nil, err
	}
	return s, nil
}

// IsIndex reports whether a file begins as an index of prepared tokens does.
func IsIndex(path string) bool {
	f, err := files.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(indexMagic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == indexMagic
}
