package plan

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/testkit/table"
	"longlora/internal/ui"
)

// What the planner chooses for the paper's recipe on an H100's rates, by the memory that it may use: to be read when a
// rate, a policy or a count changes.
func TestPlanTable(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		shape        string
		ctx          int
		device, host int64 // GiB
	}{
		{"llama2-7b", 8192, 80, 64}, {"llama2-7b", 8192, 24, 64}, {"llama2-7b", 8192, 16, 64},
		{"llama2-7b", 32768, 72, 64}, {"llama2-7b", 32768, 72, 1}, {"llama2-7b", 32768, 24, 64}, {"llama2-7b", 32768, 6, 64},
		{"llama2-7b", 131072, 80, 110}, {"llama2-7b", 131072, 24, 32},
		{"llama2-70b", 8192, 80, 110}, {"llama2-70b", 8192, 80, 8},
	} {
		d, spec := model.Shapes[c.shape], s2attn.Spec{Mode: s2attn.Split, Group: c.ctx / 4}
		w := Work{Desc: d, Train: on70b(d), Weight: model.AllIn(tensor.Dense(tensor.F16)), Spec: spec, Ctx: c.ctx, Batch: 1}
		p := h100(c.device*gib, c.host*gib)
		fmt.Fprintf(&b, "%s, %d tokens, %d GiB and the host's %d\n", c.shape, c.ctx, c.device, c.host)
		pl, err := p.choose(w)
		switch {
		case errs.Code(err) == int(errs.NoFit):
			fmt.Fprintln(&b, "    does not fit")
		case err != nil:
			t.Fatal(err)
		default:
			fmt.Fprintf(&b, "    %.3g s, %s and %s: %s\n", pl.Seconds(p.Rates, 1), ui.Bytes(pl.Device), ui.Bytes(pl.Host), pl.How())
		}
	}
	table.Hold(t, "plans.txt", b.String())
}
