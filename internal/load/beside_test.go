package load

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
)

// Positions beside an adapter are taken as they were written: sealed and changed is exit 4, without a seal they are what
// they say.
func TestBeside(t *testing.T) {
	b, err := OpenConfig("../../testdata/golden/mha-linear/model", "")
	if err != nil {
		t.Fatal(err)
	}
	doc := `{
  "positions": {"rope": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}, "max_position_embeddings": 256, "original_max_position_embeddings": 64}
}
`
	sealed := string(files.Seal([]byte(doc)))
	for name, c := range map[string]struct {
		text string
		code int
		want string
	}{
		"sealed": {sealed, 0, ""}, "not sealed": {doc, 0, ""},
		"changed": {strings.Replace(sealed, "4.0", "8.0", 1), 4, "run.json: it is not as it was written"},
		"torn":    {sealed[:len(doc)/2], 4, "run.json: "},
		"lacking": {`{"longlora": "training run 2"}`, 4, "run.json: positions is missing"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := b.beside(dir)
		if errs.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (p == nil || p.MaxPos != 256) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p, err := b.beside(t.TempDir()); p != nil || err != nil {
		t.Errorf("nothing beside it: %v, %v", p, err)
	}
}

// An adapter whose run was beside another base, or beside this one before it changed, says so; the same weights under
// another name, a record by hand and an adapter without one do not.
func TestForeign(t *testing.T) {
	const golden = "../../testdata/golden/mha-linear/"
	fresh := func(dir string) string {
		for _, name := range []string{"config.json", "model.safetensors"} {
			testkit.Write(t, filepath.Join(dir, name), testkit.Read(t, golden+"model/"+name))
		}
		return dir
	}
	was, err := rundir.FingerprintModel(fresh(t.TempDir()), []string{golden + "model/model.safetensors"})
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(map[string]any{"longlora": rundir.Kind, "model": was, "result": map[string]any{}, "positions": map[string]any{
		"rope": map[string]any{"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}, "max_position_embeddings": 256}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		record string
		change func(model string)
		want   string
	}{
		"the same":    {string(record), func(string) {}, ""},
		"none beside": {"", func(string) {}, ""},
		"by hand":     {`{"model": "llama", "positions": {"rope": {"rope_type": "default"}, "max_position_embeddings": 64}}`, func(string) {}, ""},
		"renamed": {string(record), func(d string) {
			b := testkit.Read(t, d+"/model.safetensors")
			testkit.Write(t, d+"/a.safetensors", b)
			testkit.Write(t, d+"/model.safetensors.index.json", `{"weight_map":{"lm_head.weight":"a.safetensors"}}`)
			if err := os.Remove(d + "/model.safetensors"); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"other weights": {string(record), func(d string) {
			b := testkit.Read(t, d+"/model.safetensors")
			b[len(b)-1] ^= 1
			testkit.Write(t, d+"/model.safetensors", b)
		}, "is here, and model.safetensors of"},
		"another config.json": {string(record), func(d string) {
			testkit.Write(t, d+"/config.json", string(testkit.Read(t, d+"/config.json"))+" ")
		}, "config.json is another"},
	} {
		model, adapter := fresh(t.TempDir()), t.TempDir()
		for _, f := range []string{"adapter_config.json", "adapter_model.safetensors"} {
			testkit.Write(t, filepath.Join(adapter, f), testkit.Read(t, golden+"adapter-trained/"+f))
		}
		if c.record != "" {
			testkit.Write(t, filepath.Join(adapter, "run.json"), c.record)
		}
		c.change(model)
		b, err := Open(model, adapter)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		notes := strings.Join(b.Notes, "\n")
		if said := strings.Contains(notes, "another base"); said != (c.want != "") || !strings.Contains(notes, c.want) {
			t.Errorf("%s: notes %q, want %q", name, notes, c.want)
		}
		b.Close()
	}
}
