package ckpt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// sharded writes a checkpoint of three shards.
func sharded(t *testing.T) string {
	t.Helper()
	dir := configWith(t, nil)
	if err := WriteSharded(dir, []Out{sample("a", tensor.F32, 4), sample("b", tensor.F32, 4), sample("c", tensor.F32, 4)}, 16); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpenModelRefuses(t *testing.T) {
	const second = "model-00002-of-00003.safetensors"
	for _, c := range []struct {
		want   string
		damage func(dir string) error
	}{
		{second + ": the shard is missing", func(dir string) error { return os.Remove(filepath.Join(dir, second)) }},
		{second + ": not a sound safetensors file", func(dir string) error { return os.Truncate(filepath.Join(dir, second), 100) }},
		{second + ": an empty file", func(dir string) error { return os.Truncate(filepath.Join(dir, second), 0) }},
		{"weight_map is missing", func(dir string) error { return os.WriteFile(filepath.Join(dir, indexFile), []byte("{}"), 0o644) }},
		{"is not a file in this folder", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, indexFile), []byte(`{"weight_map":{"a":"../a.safetensors"}}`), 0o644)
		}},
		{"no weights", func(dir string) error { return os.Remove(filepath.Join(dir, indexFile)) }},
		{"config.json", func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) }},
	} {
		dir := sharded(t)
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenModel(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: want exit code 4, the folder and %q", err, c.want)
		}
	}
}

func TestGet(t *testing.T) {
	dir := configWith(t, nil)
	path := filepath.Join(dir, "model.safetensors")
	testkit.Write(t, path, file(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"q":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}`, 10))
	m, err := OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Get("w", tensor.Shape{2}); err != nil {
		t.Error(err)
	}
	for want, err := range map[string]error{
		"shape [2], config.json asks for [3]": second(m.Get("w", tensor.Shape{3})),
		"of type U8":                          second(m.Get("q", tensor.Shape{2})),
		"tensor x is missing":                 second(m.Get("x", tensor.Shape{2})),
	} {
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: want exit code 4, the folder and %q", err, want)
		}
	}
}

func second(_ Tensor, err error) error { return err }
