package load

import (
	"strings"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Heads that a GPU's attention does not compute are refused by name, before any weight is read.
func TestHeadTooLarge(t *testing.T) {
	b := &Base{Config: &ckpt.Config{Path: "m/config.json", Desc: model.Desc{D: ops.MaxHead + 2}}}
	_, err := b.New(ops.NewCounter(tensor.BF16, 0, ops.Rates{}), model.Train{}, model.Memory{}, 0)
	if errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), "m/config.json: head_dim: 258") {
		t.Errorf("a head of 258 on a GPU: %v", err)
	}
}
