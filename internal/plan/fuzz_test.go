package plan

import (
	"encoding/json"
	"reflect"
	"testing"

	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// A plan that a checkpoint may go on with can be carried out: counting it, by the step's own code, comes to an end and
// needs some memory, and what is written again is the same plan.
func FuzzPlan(f *testing.F) {
	for _, s := range []string{`{"tile":32,"keep":"attn","more":1,"moved":1,"mlp_rows":8,"head_rows":64}`, `{"tile":64,"keep":"all","mlp_rows":64,"head_rows":1}`,
		`{"tile":-1,"keep":"input"}`, `{"tile":1e99}`, `{"tile":64,"keep":"out","more":99,"mlp_rows":1,"head_rows":1,"device_bytes":-5}`} {
		f.Add([]byte(s))
	}
	d := model.Shapes["tiny"]
	if d.L == 0 {
		f.Fatal("the shape is not known")
	}
	p := problem{Work{Desc: d, Train: lora.Fresh{Rank: 4, Alpha: 8, Targets: []string{"q_proj"}}.Train(d),
		Weight: model.AllIn(tensor.Dense(tensor.BF16)), Spec: s2attn.Spec{Mode: s2attn.Split, Group: 16}, Ctx: 64, Batch: 1}, h100(0, 0)}
	f.Fuzz(func(t *testing.T, b []byte) {
		var pl Plan
		if len(b) > 1<<10 || json.Unmarshal(b, &pl) != nil {
			return
		}
		one, err := json.Marshal(pl)
		if err != nil {
			t.Fatal(err)
		}
		var again Plan
		if err := json.Unmarshal(one, &again); err != nil || !reflect.DeepEqual(again, pl) {
			t.Fatalf("%+v, written again %+v (%v)", pl, again, err)
		}
		if err := p.Work.Check(pl); err != nil {
			if len(err.Error()) > 200 {
				t.Fatalf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		is, err := p.Count(p.Work, pl.Tiling)
		if err != nil || is.Tiling != pl.Tiling || is.Device <= 0 || is.Host < 0 {
			t.Fatalf("%+v is accepted and comes to %+v (%v)", pl.Tiling, is, err)
		}
	})
}
