package train_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/plan"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// card is a bfloat16 backend that keeps the accounts of a device with memory of its own, as a driver does.
type card struct {
	ops.Backend
	t                         *testing.T
	device, host              int64 // bytes that are taken
	others                    int64 // what other processes have
	promised, weights, frozen int64 // of frozen tensors: reserved, used so far, times given back
}

const (
	cardContext   = 3 << 20
	cardWorkspace = 1 << 20
	cardTotal     = 1 << 30
)

func newCard(t *testing.T) *card {
	return &card{Backend: optest.Plain(cpu.New(2)), t: t, others: 5 << 20}
}

func (c *card) Name() string          { return "cuda:0" }
func (c *card) WorkspaceBytes() int64 { return cardWorkspace }
func (c *card) ContextBytes() int64   { return cardContext }
func (c *card) Chip() ops.Chip {
	return ops.Chip{Name: "NVIDIA H100 80GB HBM3", Total: cardTotal, Free: cardTotal - 5<<20}
}
func (c *card) Used() (int64, error) {
	return c.device + c.others + cardContext + cardWorkspace + c.host/512, nil // page-locked memory takes page tables
}

func (c *card) Reserve(s ops.Space, n int64, name string) (unsafe.Pointer, error) {
	if s == ops.Host {
		c.host += n
	} else {
		c.device += n
	}
	return c.Backend.Reserve(s, n, name)
}

func (c *card) Free(s ops.Space, p unsafe.Pointer, n int64) {
	if s == ops.Host {
		c.host -= n
	} else {
		c.device -= n
	}
	c.Backend.Free(s, p, n)
}

func (c *card) ReserveWeights(n int64) error {
	c.device, c.promised, c.weights = c.device+n, n, 0
	return nil
}

func (c *card) MultiplyFP8(bool) error { return nil }

func (c *card) FreeWeights() error {
	c.device, c.promised = c.device-c.promised, 0
	c.frozen++
	return nil
}

func (c *card) Weight(s tensor.Stored) (ops.Weight, error) {
	w, err := c.Backend.Weight(s)
	if c.weights += ops.Room(ops.Held(s.Format, tensor.BF16), w.Shape); c.weights > c.promised {
		c.t.Errorf("weights take %d bytes, %d were promised", c.weights, c.promised)
	}
	return w, err
}

// What is planned for a device is what is taken from it, to the byte, and what the metrics say.
func TestDevicePlanIsWhatIsTaken(t *testing.T) {
	const name = "gqa-llama3"
	e := testkit.Golden(t, name)
	for _, more := range [][]string{nil, {"--tile=24"}, {"--tune=full"}, {"--batch=2", "--dropout=0.1", "--eval-fraction=0.3", "--eval-every=1", "--eval-attn=s2,full"}, {"--attn=full", "--tile=40"},
		{"--full-last=0.5"}, {"--weights=nf4", "--stream-layers=1"}, {"--weights=nf4"}, {"--full-last=0.5", "--tile=24", "--eval-fraction=0.3", "--eval-every=1", "--eval-attn=s2,full"}} {
		c, out := newCard(t), t.TempDir()
		args := append(goldenArgs(name, e, out, "--steps=2"), more...)
		if slices.Contains(more, "--tune=full") {
			args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "--adapter=") })
		}
		var log bytes.Buffer
		if _, err := train.Run(t.Context(), options(t, args...), c, &log); err != nil {
			t.Fatalf("%v: %v\n%s", more, err, log.String())
		}
		var rec struct {
			Device string
			DType  string
			Plan   plan.Plan
		}
		b, err := os.ReadFile(filepath.Join(out, "run.json"))
		if err == nil {
			err = json.Unmarshal(b, &rec)
		}
		if err != nil || rec.Device != "cuda" || rec.DType != "BF16" {
			t.Fatalf("run.json: %+v, %v", rec, err)
		}
		for _, m := range metrics(t, out) {
			if is := rec.Plan.Room().Device; m.DevicePeak != is {
				t.Errorf("%v: step %d has %d bytes on the device, %d were planned", more, m.Step, m.DevicePeak, is)
			}
		}
		if c.weights != rec.Plan.Weights {
			t.Errorf("%v: frozen weights take %d bytes, %d were planned", more, c.weights, rec.Plan.Weights)
		}
		if c.device != 0 || c.host != 0 || c.frozen != 1 {
			t.Errorf("%v: at the end %d bytes of the device and %d of the host are held; weights given back %d times", more, c.device, c.host, c.frozen)
		}
	}
}

// A limit between policies is kept to, what is below the least is refused, and a saved plan is used again.
func TestDeviceLimit(t *testing.T) {
	const name = "gqa-llama3"
	e := testkit.Golden(t, name)
	size := func(limit int64, out string, more ...string) (int64, error) {
		args := goldenArgs(name, e, out, append([]string{"--steps=1", fmt.Sprint("--device-mem=", limit)}, more...)...)
		if _, err := train.Run(t.Context(), options(t, args...), newCard(t), &bytes.Buffer{}); err != nil {
			return 0, err
		}
		return metrics(t, out)[0].DevicePeak, nil
	}
	out := t.TempDir()
	free, err := size(cardTotal, out)
	if err != nil {
		t.Fatal(err)
	}
	less := free - free/50
	tight, err := size(less, t.TempDir())
	if err != nil || tight > less {
		t.Errorf("under %d bytes: %d, %v", less, tight, err)
	}
	if _, err := size(less, out, "--steps=2"); errs.Code(err) != int(errs.NoFit) {
		t.Errorf("the saved plan under less memory: %v", err)
	}
	if _, err := size(5<<20, t.TempDir()); errs.Code(err) != int(errs.NoFit) {
		t.Errorf("5 MiB: %v", err)
	}
}
