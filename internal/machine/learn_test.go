package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
)

// named is a card of which only the name is asked for.
type named struct {
	ops.Card
	name string
}

func (c named) Chip() ops.Chip { return ops.Chip{Name: c.name} }

// Rates of a chip that is not known come from the user's cache; what is damaged there is said, never passed over.
func TestLearned(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	file := filepath.Join(cache, "longlora", "rates-NVIDIA-L40S.json")
	if path, err := learnedAt("NVIDIA L40S"); err != nil || path != file {
		t.Fatalf("%s, %v; want %s", path, err, file)
	}
	if _, kept, err := learned("NVIDIA L40S"); kept || err != nil {
		t.Errorf("nothing is there: %v, %v", kept, err)
	}
	write := func(text string) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, file, text)
	}
	write(`{"Linear":2e14,"Attention":1e14,"Bytes":6e11,"Moved":2e10,"Call":9e-6}`)
	var log bytes.Buffer
	if err := Learn(named{name: "NVIDIA L40S"}, &log); err != nil || log.Len() > 0 { // measuring would need the card
		t.Errorf("with rates kept: %v, %s", err, log.String())
	}
	if r, kept, err := learned("NVIDIA L40S"); !kept || err != nil || r.Linear != 2e14 || r.Call != 9e-6 {
		t.Errorf("%+v, %v, %v", r, kept, err)
	}
	for _, text := range []string{"", "{", `{"Linear":2e14}`, `{"Linear":-1,"Attention":1e14,"Bytes":6e11,"Moved":2e10}`} {
		write(text)
		err := Learn(named{name: "NVIDIA L40S"}, &log)
		if errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Learn(named{name: "NVIDIA H200"}, &log); err != nil { // built in
		t.Error(err)
	}
}

// Rates that are measured are rates.
func TestCalibrate(t *testing.T) {
	r, err := calibrate(cpu.New(1))
	if err != nil || !(r.Linear > 1e8 && r.Attention > 1e8 && r.Bytes > 1e8 && r.Moved > 1e8 && r.Linear < 1e13) {
		t.Errorf("CPU: %+v, %v", r, err)
	}
	for _, b := range backend.GPU(t) {
		card := b.(ops.Card)
		if r, err = calibrate(card); err != nil || !(r.Linear > 1e12 && r.Attention > 1e12 && r.Bytes > 1e10 && r.Moved > 1e8) {
			t.Errorf("%+v, %v", r, err)
		}
		t.Logf("%s: %+v", card.Chip().Name, r)
	}
}
