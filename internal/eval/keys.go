package eval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"longlora/internal/rundir"
)

// fingerprint names the weights, the tokenizer and the arithmetic.
func (e *evaluation) fingerprint() (string, error) {
	if e.cfg.Out == "" {
		return "", nil
	}
	var files []string
	if e.base.Weights != nil {
		files = append(files, e.base.Weights.Files...)
	}
	if e.base.Adapter != nil {
		files = append(files, e.base.Adapter.Files...)
	}
	if e.encErr == nil {
		files = append(files, e.enc.Files()...)
	}
	p, err := rundir.FingerprintModel(e.base.Dir, files)
	print := p.Config
	for _, f := range p.Files {
		print += " " + f.Name + " " + f.Content()
	}
	if e.base.Held != "" {
		print += " " + e.base.Held
	}
	if a := e.cfg.Documents.AddBOS; a != "" && a != "auto" {
		print += " " + a + " BOS"
	}
	return fmt.Sprint(print, e.be.Act(), e.engine.planner.OnHost), err
}

// key begins the keys of the results of a task at a length.
func (e *evaluation) key(task string, n int, facts ...any) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %s %d ", e.print, task, n)
	_ = json.NewEncoder(h).Encode(facts) // plain values, which print alike in every process
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// windowKey names a window by the tokens that are in it and which of them are scored, so that neither the rest of the
// stream nor --limit, --stride and --protocol matter, and nothing else is read.
func windowKey(key string, s Stream, w Window) string {
	h := sha256.New()
	fmt.Fprintln(h, key, w.From-w.Lo)
	_ = binary.Write(h, binary.LittleEndian, s.Slice(w.Lo, w.Hi)) // a hash takes everything
	return key + "/" + hex.EncodeToString(h.Sum(nil)[:16])
}
