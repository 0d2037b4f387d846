package rope

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
)

// request is a Request as the cases write it.
type request struct {
	Rope    string
	Factor  float64
	BaseCtx int `json:"base_ctx"`
	Ctx     int
}

func (r request) of() Request {
	return Request{Rope: r.Rope, Factor: r.Factor, BaseCtx: r.BaseCtx, Ctx: r.Ctx}
}

// asked is one base under one request, from an adapter's positions where there are any.
type asked struct {
	Base        string
	Request     request
	Adapter     *request
	Reads       int
	Refused     string         // the lengths that the config may mean
	Change      map[string]any // of config.json's fields; null is gone
	Idle        bool           // the pre-training length is given for nothing
	Frequencies int
}

// Every base under every request has the fields that a plain statement of the rule gives, computes what transformers
// computes with them, and comes back from the record beside an adapter.
func TestRequests(t *testing.T) {
	b, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Bases       map[string]json.RawMessage
		Frequencies [][]float64 // of heads of 16 channels, and last the factor of cos and sin
		Cases       []asked
	}
	if err := json.Unmarshal(b, &all); err != nil || len(all.Cases) < 1000 {
		t.Fatal(len(all.Cases), err)
	}
	for _, c := range all.Cases {
		var frequencies []float64
		if len(c.Change) > 0 {
			frequencies = all.Frequencies[c.Frequencies]
		}
		if err := c.check(t, string(all.Bases[c.Base]), frequencies); err != nil {
			t.Errorf("%s %+v, adapter %+v: %v", c.Base, c.Request, c.Adapter, err)
		}
	}
}

// check compares what a request comes to with what it should.
func (c asked) check(t *testing.T, config string, frequencies []float64) error {
	p, err := FromConfig("config.json", parse(t, config))
	if err != nil {
		return err
	}
	req, go_, has := c.Request.of(), p.Resolve, (*Positions)(nil)
	if c.Adapter != nil {
		q, _, err := p.Resolve(c.Adapter.of(), 16)
		if err != nil {
			return err
		}
		q, _, err = p.FromRecord("run.json", q.Record()) // as it lies beside the adapter
		if err != nil {
			return err
		}
		has, go_ = &q, func(r Request, d int) (Positions, bool, error) { return p.GoOn(q, r, d) }
	} else if p.Reads(req.BaseCtx) != c.Reads {
		return fmt.Errorf("reads %d, want %d", p.Reads(req.BaseCtx), c.Reads)
	}
	q, changed, err := go_(req, 16)
	if c.Refused != "" {
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), "may mean "+c.Refused) || !strings.Contains(err.Error(), "--base-ctx") {
			return fmt.Errorf("%v, want a refusal naming %s", err, c.Refused)
		}
		return nil
	}
	if err != nil || changed != (len(c.Change) > 0) {
		return fmt.Errorf("%s, changed %v, %w", q, changed, err)
	}
	if idle := p.Idle(has, req, 16); idle != c.Idle {
		return fmt.Errorf("idle %v, want %v", idle, c.Idle)
	}
	if !changed {
		return nil
	}
	back, differs, err := p.FromRecord("run.json", q.Record())
	if err != nil || !differs || back.Differs(q) {
		return fmt.Errorf("its record became %+v, %w", back, err)
	}
	return errors.Join(c.written(t, config, q), c.written(t, config, back), computes(q, req.Ctx, frequencies))
}

// written compares the config with other positions.
func (c asked) written(t *testing.T, config string, q Positions) error {
	raw := parse(t, config)
	q.WriteConfig(raw)
	got, b := roundTrip(t, raw)
	want := parse(t, config)
	for k, v := range c.Change {
		want[k] = v
		if _, stays := got[k]; v == nil && !stays {
			delete(want, k)
		}
	}
	want, _ = roundTrip(t, want)
	if !reflect.DeepEqual(plain(got), plain(want)) {
		return fmt.Errorf("wrote %s, want the change %v", b, c.Change)
	}
	return nil
}

// plain has every number as twelve digits, so that 4 is 4.0 and powers may differ in their last bit.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = plain(x)
		}
	case []any:
		for i, x := range v {
			v[i] = plain(x)
		}
	case json.Number:
		if x, err := v.Float64(); err == nil {
			return fmt.Sprintf("%.12g", x)
		}
	}
	return v
}

// computes compares frequencies to a few roundings of float32.
func computes(q Positions, length int, want []float64) error {
	inv, scale := q.InvFreq(16, length)
	for i, x := range append(inv, scale) {
		if math.Abs(float64(x)/want[i]-1) > 1e-6 {
			return fmt.Errorf("number %d of the frequencies is %v, want %v", i, x, want[i])
		}
	}
	return nil
}
