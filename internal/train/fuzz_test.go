package train

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Each line of metrics that encoding/json reads as a step is one, in order, and no other is; written again they say the
// same.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("{\"step\":1,\"loss\":2.5,\"eval_loss\":null}\n{\"step\":2,\"loss\":1e300,\"eval_loss_full\":3}\n"))
	f.Add([]byte("{\"step\":1,\"los\n\n{\"step\":0}\r\n{\"step\":3}{\"step\":4}\n[]\nnull"))
	path := filepath.Join(f.TempDir(), metricsName)
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) ([]Metrics, int) {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			ms, damaged, err := ReadMetrics(path)
			if err != nil {
				t.Fatal(err)
			}
			return ms, damaged
		}
		ms, damaged := read(b)
		want, others := 0, 0
		for _, line := range bytes.Split(b, []byte("\n")) {
			var any map[string]json.RawMessage
			var step int
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if json.Unmarshal(line, &any) == nil && json.Unmarshal(line, new(Metrics)) == nil {
				m := Metrics{}
				_ = json.Unmarshal(line, &m)
				step = m.Step
			}
			if step < 1 {
				others++
				continue
			}
			if want < len(ms) && ms[want].Step != step {
				t.Fatalf("line %d is of step %d, read as %d", want+others+1, step, ms[want].Step)
			}
			want++
		}
		if len(ms) != want || damaged != others {
			t.Fatalf("%d steps and %d damaged lines, want %d and %d", len(ms), damaged, want, others)
		}
		var again bytes.Buffer
		for _, m := range ms {
			line, err := json.Marshal(m)
			if err != nil {
				t.Fatalf("%+v was read and cannot be written: %v", m, err)
			}
			again.Write(append(line, '\n'))
		}
		back, damaged := read(again.Bytes())
		one, _ := json.Marshal(ms)
		two, _ := json.Marshal(back)
		if damaged != 0 || !bytes.Equal(one, two) {
			t.Fatalf("%s, read again %s", one, two)
		}
	})
}

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
		r, err := parseRecord(files.Seal(b))
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
		again, err := parseRecord(files.Seal(one))
		if err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		if two, err := json.Marshal(again); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%s, written again %s, %v", one, two, err)
		}
	})
}
