package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
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
