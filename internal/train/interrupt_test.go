package train_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// A signal ends a step that would take minutes at once, in one tile or many; the step before it is saved.
func TestInterruptInALongStep(t *testing.T) {
	const ctx, most = 65536, 3 * time.Second
	e := testkit.Golden(t, "mha-linear")
	e.Steps, e.Ctx = 1, ctx
	ids := make([]uint16, ctx)
	for i := range ids {
		ids[i] = uint16(i*i) % 96
	}
	data := tokenFile(t, ids)
	for _, tile := range []string{"--tile=65536", "--tile=1024"} {
		out := t.TempDir()
		args := goldenArgs("mha-linear", e, out, tile, "--attn=full", "--base-ctx=32")
		for i, a := range args {
			if strings.HasPrefix(a, "--data=") {
				args[i] = "--data=" + data
			}
		}
		sig, cancel := context.WithCancel(t.Context())
		var at time.Time
		time.AfterFunc(2*time.Second, func() { at = time.Now(); cancel() })
		_, err := train.Run(sig, options(t, args...), cpu.New(2), &bytes.Buffer{})
		if took := time.Since(at); errs.Code(err) != 130 || took > most {
			t.Errorf("%s: exit %d after %v: %v", tile, errs.Code(err), took, err)
		}
		if _, err := os.Stat(filepath.Join(out, "checkpoints", "step-000000", "run.json")); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
