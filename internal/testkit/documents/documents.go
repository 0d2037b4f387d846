// Package documents gives tests of data files to read and conversations whose tokens are known.
package documents

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/tokenizer"
)

// Opened is a file that is open until the test ends.
func Opened(t testing.TB, path string) *datafile.File {
	t.Helper()
	was, err := datafile.Look(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := datafile.Open(path, was, new(atomic.Int64), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// ChatCase is a conversation as transformers' apply_chat_template writes it: scripts/gen-chat-cases.py made them.
type ChatCase struct {
	Template, Own string // ours, and the marks of the model's own
	Prompt        bool   // up to where the answer begins
	Data          json.RawMessage
	Text          string
	IDs           []int32
	Scored        []int // tokens, where it is known
}

// ChatCases are the cases in a folder, internal/data/template/testdata, and the tokenizer that encoded them.
func ChatCases(t testing.TB, dir string) ([]ChatCase, *tokenizer.Tokenizer) {
	t.Helper()
	var all struct{ Cases []ChatCase }
	b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	enc, err := tokenizer.Load(dir, []int{2})
	if err != nil {
		t.Fatal(err)
	}
	return all.Cases, enc
}
