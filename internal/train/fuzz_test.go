package train

import (
	"bytes"
	"encoding/json"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// A record that is taken is one that a run comes to, and says the same when it is written again; what is refused is
// refused by its exit code.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"longlora": "training run 2", "options": {"rank": "8"}, "state": {"step": 3, "tokens": 9, "loss": 2.5}, "plan": {"tile": 32, "mlp_rows": 8, "head_rows": 16}, "files": [{"name": "a", "size": 1}]}`,
		`{"longlora": "training run 2", "state": {"step": 3, "pending": {"step": 2}}}`,
		`{"longlora": "training run 2", "state": {"step": -1, "seconds": 1e999}}`,
		`{"longlora": "training run 2", "plan": {"tile": 99999999999999999999, "more": -1}, "positions": {"type": "yarn", "factor": 0}}`,
		`{"longlora": "training run 1"}`, `[]`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<14 {
			return
		}
		r := &Record{}
		err := rundir.Parse(files.Seal(b), r)
		if err != nil {
			if code := errs.Code(err); code != 2 && code != 4 || len(err.Error()) > 1<<15 {
				t.Fatalf("exit code %d, a message of %d bytes: %.200v", code, len(err.Error()), err)
			}
			return
		}
		one, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again := &Record{}
		if err := rundir.Parse(files.Seal(one), again); err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		if two, err := json.Marshal(again); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%s, written again %s, %v", one, two, err)
		}
	})
}
