package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"longlora/internal/eval"
)

// What generate writes greedily is what transformers writes, token for token: scripts/gen-generate-cases.py made the cases.
func TestGenerateAsTransformersDoes(t *testing.T) {
	b, err := os.ReadFile("../../testdata/generate.json")
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Max   int `json:"max_tokens"`
		Cases []struct {
			Prompt string
			Factor int     // of YaRN; 1: the model's own positions
			Tokens []int32 `json:"prompt_ids"`
			IDs    []int32
			Text   string
		}
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	for _, c := range ref.Cases {
		args := []string{"generate", "--device=cpu", "--model=../../testdata/demo/model", "--json", "--prompt=" + c.Prompt, fmt.Sprintf("--max-tokens=%d", ref.Max)}
		if c.Factor != 1 {
			args = append(args, "--rope=yarn", fmt.Sprintf("--rope-factor=%d", c.Factor))
		}
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(io.Discard)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		var got eval.Generated
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Stop == "eos" {
			got.IDs = append(got.IDs, 1) // which transformers keeps
		}
		if got.PromptTokens != len(c.Tokens) || !slices.Equal(got.IDs, c.IDs) || got.Text != c.Text {
			t.Errorf("%.40q, %d tokens (want %d):\n%v %q, want\n%v %q", c.Prompt, got.PromptTokens, len(c.Tokens), got.IDs, got.Text, c.IDs, c.Text)
		}
	}
	if len(ref.Cases) < 8 {
		t.Errorf("%d cases", len(ref.Cases))
	}
}
