package ckpt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// The tokenizer's files come along, from the model's folder and from its own blobs in a cache, and nothing else.
func TestCarryOver(t *testing.T) {
	hub := t.TempDir()
	t.Setenv("HF_HUB_CACHE", hub)
	snap := filepath.Join(hub, "models--org--name", "snapshots", "abc")
	secret := filepath.Join(t.TempDir(), "secret")
	testkit.Write(t, secret, "secret")
	testkit.Write(t, filepath.Join(hub, "models--org--other", "blobs", "2"), "another's")

	plain := t.TempDir()
	testkit.Write(t, plain+"/tokenizer.json", "{}")
	testkit.Write(t, plain+"/files/t", "model")
	testkit.Link(t, "files/t", plain+"/tokenizer.model")
	testkit.Write(t, plain+"/additional_chat_templates/rag.jinja", "x")
	testkit.Write(t, plain+"/.env", "password")
	testkit.Write(t, plain+"/README.md", "x")
	testkit.Link(t, filepath.Join(hub, "models--org--other", "blobs", "2"), plain+"/vocab.json") // as hf download --local-dir has linked
	testkit.Write(t, filepath.Join(hub, "models--org--name", "blobs", "3"), "template")
	testkit.Link(t, "../../blobs/3", filepath.Join(snap, "chat_template.jinja"))
	away := t.TempDir()
	testkit.Link(t, snap, away+"/model")

	for dir, want := range map[string]string{
		plain:           "additional_chat_templates additional_chat_templates/rag.jinja tokenizer.json tokenizer.model vocab.json",
		snap:            "chat_template.jinja",
		away + "/model": "chat_template.jinja",
	} {
		out := t.TempDir()
		if err := CarryOver(out, dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if got := tree(t, out); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
	for what, make := range map[string]func(dir string){
		"a link out of the folder": func(d string) { testkit.Link(t, secret, d+"/chat_template.jinja") },
		"a relative one":           func(d string) { testkit.Link(t, "../x", d+"/tokenizer.json"); testkit.Write(t, d+"/../x", "x") },
		"one through a folder": func(d string) {
			testkit.Link(t, filepath.Dir(secret), d+"/w")
			testkit.Link(t, "w/secret", d+"/tokenizer.json")
		},
		"a folder of templates": func(d string) {
			testkit.Write(t, secret+"s/a.jinja", "x")
			testkit.Link(t, secret+"s", d+"/additional_chat_templates")
		},
		"a pipe, by a link": func(d string) { testkit.Link(t, "/dev/zero", d+"/merges.txt") },
		"a folder":          func(d string) { testkit.Write(t, d+"/tokenizer.json/x", "") },
		"a pointer":         func(d string) { testkit.Write(t, d+"/tokenizer.model", lfs) },
		"a link to nothing": func(d string) { testkit.Link(t, "nothing", d+"/tokenizer.json") },
		"code out of the folder": func(d string) {
			testkit.Link(t, secret, d+"/tok.py")
			testkit.Write(t, d+"/tokenizer_config.json", `{"auto_map":{"AutoTokenizer":["tok.T",null]}}`)
		},
		"a tokenizer_config.json of []": func(d string) { testkit.Write(t, d+"/tokenizer_config.json", "[]") },
	} {
		dir := filepath.Join(t.TempDir(), "m")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		make(dir)
		out := t.TempDir()
		if err := CanCarry(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
		if err := CarryOver(out, dir); err == nil || tree(t, out) != "" {
			t.Errorf("%s: %v, copied %q", what, err, tree(t, out))
		}
	}
	own := filepath.Join(snap, "tokenizer.json")
	testkit.Link(t, "../../../models--org--other/blobs/2", own)
	if err := CanCarry(snap); errs.Code(err) != 4 {
		t.Errorf("another repository's blob: %v", err)
	}
}

// tree lists what lies in a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); rel != "." {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// auto_map stays only where the code that it names comes along.
func TestAutoMap(t *testing.T) {
	for name, c := range map[string]struct {
		config, files string
		keep          bool
		want          string
	}{
		"none":                 {`{"a":1}`, "", true, "tokenizer_config.json"},
		"code that is there":   {`{"auto_map":{"AutoTokenizer":["tok.T",null]}}`, "tok.py", true, "tok.py tokenizer_config.json"},
		"code that is not":     {`{"auto_map":{"AutoTokenizer":["tok.T","fast.T"]},"n":1e30}`, "tok.py", false, "tokenizer_config.json"},
		"another repository's": {`{"auto_map":{"AutoTokenizer":"org/name--tok.T"}}`, "", true, "tokenizer_config.json"},
		"a path":               {`{"auto_map":{"AutoTokenizer":"../tok.T"}}`, "", false, "tokenizer_config.json"},
	} {
		dir, out := t.TempDir(), t.TempDir()
		testkit.Write(t, dir+"/tokenizer_config.json", c.config)
		for _, f := range strings.Fields(c.files) {
			testkit.Write(t, filepath.Join(dir, f), "x")
		}
		if err := CarryOver(out, dir); err != nil || tree(t, out) != c.want {
			t.Errorf("%s: %v, copied %q, want %q", name, err, tree(t, out), c.want)
		}
		b, err := os.ReadFile(out + "/tokenizer_config.json")
		if err != nil || c.keep != (string(b) == c.config) || !c.keep && strings.Contains(string(b), "auto_map") {
			t.Errorf("%s: wrote %s, %v", name, b, err)
		}
	}
	c, err := ReadConfig(configWith(t, change{"auto_map": change{"AutoModelForCausalLM": "modeling_llama_yarn.LlamaForCausalLM"}}))
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Derived(); d["auto_map"] != nil || c.Raw["auto_map"] == nil || len(d) != len(c.Raw)-1 {
		t.Errorf("%v derived from %v", d, c.Raw)
	}
}
