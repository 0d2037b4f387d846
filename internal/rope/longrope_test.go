package rope

import (
	"math"
	"strings"
	"testing"

	"longlora/internal/errs"
)

const longrope = `{"model_type":"phi3","max_position_embeddings":512,"original_max_position_embeddings":64,"rope_theta":10000.0,
"rope_scaling":{"type":"su","short_factor":[1.0,1.1,1.2,1.5],"long_factor":[1.0,2.0,4.5,8.0]}}`

func longropeOf(t *testing.T, text string) (Positions, error) {
	t.Helper()
	var raw map[string]any
	if err := decode([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	return FromConfig("config.json", raw)
}

// The frequencies of a base of type longrope are transformers' on both sides of the pre-training length.
func TestLongrope(t *testing.T) {
	p, err := longropeOf(t, longrope)
	if err != nil || p.Type != "longrope" || p.Factor != 8 || p.Reads(0) != 512 {
		t.Fatalf("%+v, %v", p, err)
	}
	for length, want := range map[int][]float64{
		64: {1, 0.09090909361839294, 0.00833333283662796, 0.0006666666595265269},
		65: {1, 0.05000000074505806, 0.002222222276031971, 0.0001250000059371814},
	} {
		inv, scale := p.InvFreq(8, length)
		for i, w := range want {
			if !(math.Abs(float64(inv[i])/w-1) < 2e-7) {
				t.Errorf("%d tokens: %v, want %v", length, inv, want)
			}
		}
		if !(math.Abs(float64(scale)-1.224744871391589) < 1e-6) {
			t.Errorf("cos and sin are multiplied by %v", scale)
		}
	}
	if q, changed, err := p.Resolve(Request{Ctx: 512}, 8); changed || err != nil || q.Type != "longrope" {
		t.Errorf("within its length: %+v, %v, %v", q, changed, err)
	}
	if _, _, err := p.Resolve(Request{Ctx: 513}, 8); errs.Code(err) != 4 || !strings.Contains(err.Error(), "longrope") {
		t.Errorf("beyond its length: %v, want exit code 4 naming longrope", err)
	}
	if q, changed, err := p.FromRecord("run.json", p.Record()); err != nil || changed || q.Factor != 8 {
		t.Errorf("from its record: %+v, %v, %v", q, changed, err)
	}
	if err := p.Fits("config.json", 8); err != nil {
		t.Error(err)
	}
	if err := p.Fits("config.json", 6); errs.Code(err) != 4 || !strings.Contains(err.Error(), "short_factor") {
		t.Errorf("other heads: %v, want exit code 4 naming short_factor", err)
	}
}

func TestLongropeRefused(t *testing.T) {
	for old, bad := range map[string]string{`[1.0,1.1,1.2,1.5]`: `[1.0,-1.1]`, `[1.0,2.0,4.5,8.0]`: `"x"`,
		`"original_max_position_embeddings":64,`: ``} {
		if _, err := longropeOf(t, strings.Replace(longrope, old, bad, 1)); errs.Code(err) != 4 {
			t.Errorf("%s in the place of %s: %v, want exit code 4", bad, old, err)
		}
	}
}
