package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"longlora/internal/eval"
	"longlora/internal/files"
	"longlora/internal/testkit"
)

// What generate writes greedily is what transformers writes, token for token: scripts/gen-generate-cases.py made the cases.
func TestGenerateAsTransformersDoes(t *testing.T) {
	b := testkit.Read(t, "../../testdata/generate.json")
	var ref struct {
		Max   int `json:"max_tokens"`
		Cases []struct {
			Prompt string
			Factor int     // of YaRN; 1: the model's own positions
			Window int     // W of the layers' sliding windows, 0 without
			Tokens []int32 `json:"prompt_ids"`
			IDs    []int32
			Text   string
		}
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	const demo = "../../testdata/demo/model"
	windows := 0
	for i, c := range ref.Cases {
		args := []string{"generate", "--device=cpu", "--json", "--prompt=" + c.Prompt, fmt.Sprintf("--max-tokens=%d", ref.Max)}
		switch {
		case c.Window == 0:
			args = append(args, "--model="+demo)
		case i%2 == 0: // of the model
			args = append(args, "--model="+withWindow(t, demo, c.Window))
		default: // asked for
			args = append(args, "--model="+withWindow(t, demo, 3), fmt.Sprintf("--sliding-window=%d", c.Window))
		}
		if c.Window > 0 && len(c.Tokens)+len(c.IDs) > c.Window {
			windows++
		}
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
	if len(ref.Cases) < 13 || windows < 5 {
		t.Errorf("%d cases, %d of them beyond a window", len(ref.Cases), windows)
	}
}

// withWindow is a copy of a LLaMA's folder in which it is a Mistral whose layers have a sliding window of w tokens.
func withWindow(t *testing.T, dir string, w int) string {
	t.Helper()
	out, raw := t.TempDir(), map[string]any{}
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(out, "config.json")
	if err := files.ReadJSON(path, &raw); err != nil {
		t.Fatal(err)
	}
	raw["architectures"], raw["model_type"], raw["sliding_window"] = []string{"MistralForCausalLM"}, "mistral", w
	if err := files.WriteJSON(path, raw); err != nil {
		t.Fatal(err)
	}
	return out
}
