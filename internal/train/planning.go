package train

import (
	"fmt"
	"io"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// Planned is what plan prints: bench's keys but the measured ones, the prediction, and where every byte goes.
type Planned struct {
	Shape      string  `json:"shape"`
	Ctx        int     `json:"ctx"`
	Group      int     `json:"group"`
	Tile       int     `json:"tile"`
	Device     string  `json:"device"`
	DType      string  `json:"dtype"`
	DevicePlan int64   `json:"device_plan_bytes"`
	HostPlan   int64   `json:"host_plan_bytes"`
	PredictedS float64 `json:"predicted_s"`
	Fits       bool    `json:"fits"`
	MaxCtx     *int    `json:"max_ctx,omitempty"`

	Keep      model.Keep `json:"keep"`
	MLPRows   int        `json:"mlp_rows"`
	HeadRows  int        `json:"head_rows"`
	Trainable int64      `json:"trainable"`
	Params    int64      `json:"params_bytes"`
	Act       int64      `json:"act_bytes"`
	Halo      int64      `json:"halo_bytes"`
	Workspace int64      `json:"workspace_bytes"`
	Weights   int64      `json:"weights_bytes"`
	IDs       int64      `json:"ids_bytes"`
	Base      int64      `json:"base_bytes"`
	HostLimit int64      `json:"host_limit_bytes"`

	refusal error
}

// Plan says what a step would need and take. One that does not fit is a Planned with Fits false; see Refusal.
func Plan(c *config.Plan, v *config.Values, be ops.Backend) (*Planned, error) {
	d, weight, name, err := planned(c)
	if err != nil {
		return nil, err
	}
	at := func(ctx int) (plan.Problem, plan.Limits, error) {
		t := c.Train
		t.Ctx = ctx
		var err error
		if t.G, err = t.GroupFor(v, ctx); err != nil {
			return plan.Problem{}, plan.Limits{}, err
		}
		return problem(&t, d, weight, be)
	}
	p, lim, err := at(c.Ctx)
	if err != nil {
		return nil, err
	}
	longest := -1
	if c.MaxCtx {
		if longest, err = maxCtx(p, lim, at); err != nil {
			return nil, err
		}
		if !v.Explicit("ctx") && longest > 0 {
			if p, lim, err = at(longest); err != nil {
				return nil, err
			}
		}
	}
	pl, refusal := plan.Choose(p, lim, plan.ChipCPU)
	if refusal != nil && errs.Code(refusal) != int(errs.NoFit) {
		return nil, refusal
	}
	if refusal != nil && longest < 0 {
		if longest, err = maxCtx(p, lim, at); err != nil {
			return nil, err
		}
	}
	rates, err := plan.Calibrate(be)
	if err != nil {
		return nil, err
	}
	group := min(p.Spec.Group, p.Ctx)
	if c.Attn == "full" {
		group = p.Ctx
	}
	out := &Planned{
		Shape: name, Ctx: p.Ctx, Group: group, Tile: pl.Tile, Device: deviceKind(be.Name()), DType: typeName(be.Act()), DevicePlan: pl.Device, HostPlan: pl.Host,
		PredictedS: pl.Seconds(rates, c.Accum), Fits: refusal == nil, Keep: pl.Keep, MLPRows: pl.MLPRows, HeadRows: pl.HeadRows, Trainable: pl.Trainable,
		Params: pl.Params, Act: pl.Act, Halo: pl.Halo, Workspace: pl.Workspace, Weights: pl.Weights, IDs: pl.IDs, Base: pl.Base, HostLimit: lim.Host, refusal: refusal,
	}
	if longest >= 0 {
		out.MaxCtx = &longest
	}
	return out, nil
}

// planned is the model that is planned for: a shape's, or a checkpoint's by its config.json alone.
func planned(c *config.Plan) (d model.Desc, weight tensor.DType, name string, err error) {
	if c.Shape != "" {
		d, err = shape(c.Shape)
		return d, tensor.BF16, c.Shape, err
	}
	base, err := load.OpenConfig(c.Model)
	if err != nil {
		return d, weight, "", err
	}
	return base.Desc(), base.WeightType(), c.Model, base.CheckWindow(c.Ctx)
}

// maxCtx is the longest context that fits. Groups too small for --group to be 2 tokens do not count.
func maxCtx(p plan.Problem, lim plan.Limits, at func(int) (plan.Problem, plan.Limits, error)) (int, error) {
	var failed error
	n, err := plan.MaxCtx(func(ctx int) plan.Problem {
		q, _, err := at(ctx)
		if err != nil && failed == nil {
			failed = err
		}
		q.Base = p.Base // of the moment of the question, not of the search
		return q
	}, lim, plan.ChipCPU)
	if failed != nil {
		return 0, failed
	}
	return n, err
}

// Refusal is the error, of kind NoFit, that says what is missing and how to mend it; nil where the plan fits.
func (p *Planned) Refusal() error {
	if p.refusal == nil {
		return nil
	}
	return errs.NoFitf("%w; the longest context that fits is %d. Lower --ctx, --batch or --tile, or raise --host-mem", p.refusal, *p.MaxCtx)
}

// Print writes the plan as a table.
func (p *Planned) Print(w io.Writer) {
	rows := [][]string{{"where", "bytes"}}
	for _, r := range []struct {
		what string
		n    int64
	}{
		{"trained values, gradients, moments", p.Params}, {"activations, windows, logits", p.Act}, {"halos between tiles", p.Halo},
		{"packing and libraries", p.Workspace}, {"token ids and rows", p.IDs}, {"the process itself", p.Base}, {"host memory in all", p.HostPlan},
		{"device memory in all", p.DevicePlan}, {"frozen weights, mapped from the file", p.Weights},
	} {
		rows = append(rows, []string{r.what, plan.Bytes(r.n)})
	}
	fmt.Fprintf(w, "%s, %d tokens, G = %d, %s on %s\n", p.Shape, p.Ctx, p.Group, p.DType, p.Device)
	ui.Table(w, rows)
	fmt.Fprintf(w, "tile %d, keeping %s; %d trainable parameters; %.3g s a step predicted\n", p.Tile, p.Keep, p.Trainable, p.PredictedS)
	if p.MaxCtx != nil {
		fmt.Fprintf(w, "the longest context that fits %s of host memory: %d\n", plan.Bytes(p.HostLimit), *p.MaxCtx)
	}
}
