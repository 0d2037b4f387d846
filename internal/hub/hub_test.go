package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// noCache takes every variable away that places the cache.
func noCache(t *testing.T) {
	t.Helper()
	for _, v := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"} {
		t.Setenv(v, "")
	}
}

// cached makes org/name in the cache at hub, as huggingface_hub lays it out, and gives its snapshot's folder.
func cached(t *testing.T, hub string) string {
	t.Helper()
	root := filepath.Join(hub, "models--org--name")
	testkit.Write(t, filepath.Join(root, "blobs", "1"), "{}")
	testkit.Write(t, filepath.Join(root, "refs", "main"), "abc\n")
	snap := filepath.Join(root, "snapshots", "abc")
	testkit.Link(t, "../../blobs/1", filepath.Join(snap, "config.json"))
	return snap
}

// The cache is where huggingface_hub 1.x looks for it: its variables in their order, an older name, ~ and variables.
func TestCache(t *testing.T) {
	home := t.TempDir()
	t.Setenv("DISK", "/disk")
	for _, c := range []struct{ env, want string }{
		{"HF_HUB_CACHE=/a HUGGINGFACE_HUB_CACHE=/b HF_HOME=/c", "/a"},
		{"HUGGINGFACE_HUB_CACHE=/b HF_HOME=/c", "/b"},
		{"HF_HOME=/c XDG_CACHE_HOME=/d", "/c/hub"},
		{"XDG_CACHE_HOME=/d", "/d/huggingface/hub"},
		{"", home + "/.cache/huggingface/hub"},
		{"HF_HOME=~/H", home + "/H/hub"},
		{"HF_HOME=~", home + "/hub"},
		{"HF_HUB_CACHE=~/H", home + "/H"},
		{"XDG_CACHE_HOME=~/d", home + "/d/huggingface/hub"},
		{"HF_HUB_CACHE=$DISK/hub", "/disk/hub"},
		{"HF_HOME=${DISK}/x", "/disk/x/hub"},
		{"HF_HOME=/x/~", "/x/~/hub"},
		{"HOME= HF_HOME=/c", "/c/hub"},
		{"HOME=", ""},
		{"HOME= HF_HOME=~/H", ""},
		{"HOME= HF_HUB_CACHE=~/H", ""},
	} {
		noCache(t)
		t.Setenv("HOME", home)
		for _, kv := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(kv, "=")
			t.Setenv(k, v)
		}
		if got := Cache(); got != c.want {
			t.Errorf("%s: %q, want %q", c.env, got, c.want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	noCache(t)
	home := t.TempDir()
	t.Chdir(t.TempDir())
	snap := cached(t, filepath.Join(home, "hub"))
	t.Setenv("HF_HOME", home)
	if dir, err := Snapshot("org/name"); err != nil || dir != snap {
		t.Errorf("%q, %v", dir, err)
	}
	for name, want := range map[string]string{"org/other": "hf download org/other", "name": "no such folder", "a/b/c": "no such folder", "./x": "no such folder",
		"../x": "no such folder", "org/": "no such folder", "org/..": "no such folder",
		"https://huggingface.co/org/name/tree/main": "an address, from which nothing is loaded; give the model's name: --model org/name",
		"org/name@v1": "hf download org/name --revision v1"} {
		if _, err := Snapshot(name); errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	t.Setenv("HF_HOME", "")
	if _, err := Snapshot("org/name"); errs.Code(err) != 4 || !strings.Contains(err.Error(), "HOME is not set; set HF_HOME") {
		t.Errorf("without a home: %v", err)
	}
	if err := os.MkdirAll("models--org--name", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Snapshot("org/name"); err == nil {
		t.Error("without a home the working folder is a cache")
	}
}

// A cache's refs lead to one of its own snapshots and nowhere else.
func TestRefsStayInside(t *testing.T) {
	for ref, want := range map[string]string{
		"abc": "", "abc\n": "", "../../models--secret--x/snapshots/abc": "is no commit", "..": "is no commit", ".": "is no commit", "": "is no commit",
		"/etc": "is no commit", "abc/../abc": "is no commit", "\x1b[2J": "is no commit", strings.Repeat("a", 200): "is no commit",
		strings.Repeat("a", 5000): "longer than", "def": "only knows its commit", "out": "leads out of the cache",
	} {
		noCache(t)
		hub := t.TempDir()
		t.Setenv("HF_HUB_CACHE", hub)
		cached(t, hub)
		testkit.Link(t, t.TempDir(), filepath.Join(hub, "models--org--name", "snapshots", "out"))
		testkit.Write(t, filepath.Join(hub, "models--org--name", "refs", "main"), ref)
		_, err := Snapshot("org/name")
		if want == "" && err != nil || want != "" && (errs.Code(err) != 4 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: %v, want %q", ref, err, want)
		}
	}
	noCache(t)
	hub := t.TempDir()
	t.Setenv("HF_HUB_CACHE", hub)
	snap := cached(t, hub)
	if err := os.Remove(filepath.Join(hub, "models--org--name", "refs", "main")); err != nil {
		t.Fatal(err)
	}
	if _, err := Snapshot("org/name"); errs.Code(err) != 4 || !strings.Contains(err.Error(), "--model "+snap) {
		t.Errorf("without refs/main: %v", err)
	}
}
