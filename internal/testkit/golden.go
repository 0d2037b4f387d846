package testkit

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// Case is a reference case: testdata/golden/README.md says what lies in one.
type Case struct {
	Dir        string `json:"-"`
	Ctx        int
	Group      int
	Steps      int
	LR         float64
	Full       float64 `json:"loss.full"`
	Split      float64 `json:"loss.split"`
	Roll       float64 `json:"loss.roll"`
	SFTLoss    float64 `json:"loss.sft"`
	DocsLoss   float64 `json:"loss.docs"`
	BatchFull  float64 `json:"loss.batch.full"`
	BatchSplit float64 `json:"loss.batch.split"`
	Docs       []int   // lengths of the documents that a row is cut into
	Rows       []int   // lengths of a padded batch's rows
	SFT        struct {
		Lengths, Prompt []int
		Starts          []int `json:"row_starts"`
	}
	Train struct {
		Losses []float64
		Norms  []float64 `json:"grad_norms"`
	}
	PPL struct {
		Stride, Windows int
		Loss            float64 `json:"mean_loss"`
	}
	IDs []int32              `json:"-"` // tokens.bin
	Ref map[string][]float32 `json:"-"` // expected.safetensors
}

// Golden reads a reference case by its name.
func Golden(t testing.TB, name string) *Case {
	t.Helper()
	c := &Case{Dir: filepath.Join(Root(t), "testdata", "golden", name)}
	ReadJSON(t, filepath.Join(c.Dir, "expected.json"), c)
	b := Read(t, filepath.Join(c.Dir, "tokens.bin"))
	for i := 0; i+1 < len(b); i += 2 {
		c.IDs = append(c.IDs, int32(binary.LittleEndian.Uint16(b[i:])))
	}
	c.Ref = Floats(t, filepath.Join(c.Dir, "expected.safetensors"))
	if c.Ctx == 0 || len(c.IDs) < c.Ctx || len(c.Ref) == 0 {
		t.Fatalf("%s: %d tokens a row, %d tokens, %d tensors", c.Dir, c.Ctx, len(c.IDs), len(c.Ref))
	}
	return c
}

// Root is the module's folder, as a path from the package's.
func Root(t testing.TB) string {
	t.Helper()
	for dir := "."; len(dir) < 30; dir = filepath.Join(dir, "..") {
		if _, err := os.Stat(filepath.Join(dir, "testdata", "golden")); err == nil {
			return dir
		}
	}
	t.Fatal("testdata/golden is in no folder above")
	return ""
}

// Floats reads a safetensors file of float32, by its definition and not by package ckpt, which is judged by it.
func Floats(t testing.TB, path string) map[string][]float32 {
	t.Helper()
	b := Read(t, path)
	header := b[8 : 8+binary.LittleEndian.Uint64(b)]
	var entries map[string]struct {
		DType   string    `json:"dtype"`
		Offsets [2]uint64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(header, &entries); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	delete(entries, "__metadata__")
	out, data := map[string][]float32{}, b[8+len(header):]
	for name, e := range entries {
		if e.DType != "F32" {
			t.Fatalf("%s: %s is of type %s", path, name, e.DType)
		}
		v := make([]float32, 0, (e.Offsets[1]-e.Offsets[0])/4)
		for at := e.Offsets[0]; at < e.Offsets[1]; at += 4 {
			v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(data[at:])))
		}
		out[name] = v
	}
	return out
}
