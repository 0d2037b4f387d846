package rundir

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Each line of metrics that encoding/json reads as a step is one, in order, and no other is; written again they say the
// same.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("{\"step\":1,\"loss\":2.5,\"eval_loss\":null}\n{\"step\":2,\"loss\":1e300,\"eval_loss_full\":3}\n"))
	f.Add([]byte("{\"step\":1,\"los\n\n{\"step\":0}\r\n{\"step\":3}{\"step\":4}\n[]\nnull"))
	path := filepath.Join(f.TempDir(), MetricsFile)
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
			if line = bytes.TrimSpace(line); len(line) == 0 { // of more than JSON's own white space
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
