package machine

import (
	"slices"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/ops"
)

// A device's own name leads to the chip that it is, and to none where it is another one.
func TestKnownAs(t *testing.T) {
	for device, want := range map[string]string{
		"NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200", "NVIDIA A100-SXM4-80GB": "a100", "NVIDIA A100 80GB PCIe": "a100",
		"NVIDIA L4": "l4", "NVIDIA L40S": "l40s", "NVIDIA L40": "", "NVIDIA A10G": "a10g", "NVIDIA A10": "", "NVIDIA B200": "b200",
		"NVIDIA GeForce RTX 3090": "rtx3090", "NVIDIA GeForce RTX 4090": "rtx4090", "NVIDIA GeForce RTX 4090 Laptop GPU": "",
		"NVIDIA GeForce RTX 5090": "rtx5090", "NVIDIA RTX A6000": "a6000", "NVIDIA GH200 480GB": "", "Tesla T4": "",
	} {
		got := ""
		if c := knownAs(device); c != nil {
			got = c.name
		}
		if got != want {
			t.Errorf("%s is taken for %q, want %q", device, got, want)
		}
	}
}

// Products in FP8 are planned for chips that have them, and are quicker.
func TestMultiplyFP8(t *testing.T) {
	for _, name := range Names() {
		m, _ := Named(name)
		was := m.Workspace
		err := m.MultiplyFP8(true)
		if old := slices.Contains([]string{"a100", "a6000", "a10g", "rtx3090"}, name); old != (errs.Code(err) == int(errs.Usage)) || old == m.MultipliesFP8() {
			t.Errorf("%s: %v, %+v", name, err, m.Rates)
		}
		if more := m.Workspace - was; more != 0 && !m.MultipliesFP8() || more != ops.RoomFP8 && m.MultipliesFP8() {
			t.Errorf("%s: products in FP8 %v have %d bytes more", name, m.MultipliesFP8(), more)
		}
		if err := m.MultiplyFP8(false); err != nil || m.MultipliesFP8() || m.Workspace != was {
			t.Errorf("%s: %v, %+v", name, err, m.Rates)
		}
	}
}

// What is said of a chip's figures is where they come from, and no chip is faster than its datasheet.
func TestSources(t *testing.T) {
	for _, name := range Names() {
		m, ok := Named(name)
		want := Datasheet
		if name == "h100" || name == "h200" {
			want = Measured
		}
		r := m.Rates
		if !ok || m.Source != want || m.Memory < 20<<30 || !(r.Linear > 0.5*m.Peak && r.Linear < 0.8*m.Peak) || !(r.Attention < r.Linear) ||
			!(r.Bytes > 1e11 && r.Bytes < 8e12) || m.IsHere() || Refused(name) != "" {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, ok := Named("t4"); ok || Refused("T4") == "" {
		t.Error("a T4 has no bfloat16 products")
	}
	m := Sized(16 << 30)
	if m.Source != Assumed || m.Peak != 0 || m.Memory >= 16<<30 || m.Memory < 15<<30 || m.Chip != "16GiB" {
		t.Errorf("%+v", m)
	}
	if n := Sized(1 << 30).Memory; n < 900<<20 || n >= 1<<30 {
		t.Errorf("of 1 GiB %d bytes are said to be free", n)
	}
}
