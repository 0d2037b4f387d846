package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

// Of what lies in a folder Sweep takes only what this program named and nobody writes any more.
func TestSweep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[1]*") // what a pattern would trip over
	foreign := []string{".config.tmp/x", ".notes.tmp-old", ".run.json.tmp123", "run.json", ".x.longlora-12.tmp", "x.longlora-0123456789abcdef.tmp", ".longlora-0123456789abcdef.tmp"}
	for _, n := range foreign {
		testkit.Write(t, filepath.Join(dir, n), "x")
	}
	live, err := create(filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dead, err := create(filepath.Join(dir, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	dead.Close() // as a killed process leaves it
	folder, err := MakeTemp(filepath.Join(dir, "step-000001"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(folder, "run.json"), "x")
	if of, ok := tempOf(filepath.Base(folder)); of != "step-000001" || !ok {
		t.Errorf("%s is of %q, %v", folder, of, ok)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{dead.Name(), folder} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	for _, kept := range append(foreign, filepath.Base(live.Name())) {
		if _, err := os.Stat(filepath.Join(dir, kept)); err != nil {
			t.Errorf("%s is gone", kept)
		}
	}
	if err := Sweep(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}

// What is created has the modes that the umask leaves.
func TestUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	dir := t.TempDir()
	f, err := create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tmp, err := MakeTemp(filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Lock(filepath.Join(dir, "locked"), "busy")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	for path, want := range map[string]os.FileMode{f.Name(): 0o640, tmp: 0o750, l.Dir: 0o750} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v", path, st.Mode(), want)
		}
	}
}

// A locked folder is one process's, and it notices that its folder goes away; an empty one that it made goes with it.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "run")
	l, err := Lock(dir, "taken")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, "taken"); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "taken") {
		t.Errorf("a second lock: %v", err)
	}
	soon := filepath.Join(t.TempDir(), "soon") // held a little longer, as by a process that was killed
	dying, err := Lock(soon, "taken")
	if err != nil {
		t.Fatal(err)
	}
	if !Held(dir) {
		t.Error("a lock that is kept is not held")
	}
	time.AfterFunc(patience/10, dying.Release)
	if Held(soon) {
		t.Error("a lock is held that is given back at once")
	}
	if Held(filepath.Join(soon, "nowhere")) {
		t.Error("what is not there is held")
	}
	if dying, err = Lock(soon, "taken"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(patience/10, dying.Release)
	if next, err := Lock(soon, "taken"); err != nil {
		t.Error(err)
	} else {
		next.Release()
	}
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	if err := os.Rename(dir, dir+"-moved"); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), dir) {
		t.Errorf("moved away: %v", err)
	}
	again, err := Lock(dir, "taken") // a new folder under the old name
	if err != nil {
		t.Fatal(err)
	}
	if l.Check() == nil {
		t.Error("another folder under the name is taken for the locked one")
	}
	l.Release()
	if _, err := os.Stat(dir); err != nil {
		t.Error("the other folder went with the lock")
	}
	again.Release()
	if _, err := os.Stat(dir); err == nil {
		t.Error("an empty folder is left")
	}
}

// A stage comes to its name whole, where nothing or an empty folder is, through a link too; never over anything.
func TestStage(t *testing.T) {
	root := t.TempDir()
	at := func(n string) string { return filepath.Join(root, n) }
	for _, d := range []string{"empty", "target", "full"} {
		if err := os.Mkdir(at(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Write(t, at("full/thesis.txt"), "precious")
	testkit.Write(t, at("file"), "precious")
	for link, to := range map[string]string{"link": "target", "dangling": "nowhere"} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"new", "deep/new", "empty", "link", "a[b]*?"} {
		s, err := NewStage(at(n), "busy")
		if err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		if _, err := NewStage(at(n), "busy"); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "busy") {
			t.Errorf("%s: a second one: %v", n, err)
		}
		for _, f := range []string{"config.json", "model-00001.safetensors", "tokenizer.json"} {
			testkit.Write(t, filepath.Join(s.Dir, f), f)
		}
		if err := s.Commit("config.json"); err != nil {
			t.Errorf("%s: %v", n, err)
		}
		s.Drop()
		if got := names(t, at(n)); got != "config.json model-00001.safetensors tokenizer.json" {
			t.Errorf("%s holds %s", n, got)
		}
	}
	if st, err := os.Lstat(at("link")); err != nil || st.Mode()&os.ModeSymlink == 0 || names(t, at("target")) == "" {
		t.Errorf("the link's target was not filled: %v %v", st, err)
	}
	if st, err := os.Stat(at("empty")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("an empty folder lost its mode: %v", st.Mode())
	}
	for n, want := range map[string]string{"full": "thesis.txt", "file": "a file of that name", "dangling": "a link to nowhere", "new": "config.json"} {
		if _, err := NewStage(at(n), "busy"); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", n, err)
		}
		if err := CheckNew(at(n)); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", n, err)
		}
	}
	if err := CheckNew(at("file/x")); errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("below a file: %v", err)
	}
	if got := names(t, root); strings.Contains(got, partName) {
		t.Errorf("left over: %s", got)
	}
}

// What killed processes leave, at any point of the way up, is taken back, and nothing else.
func TestStageAfterAKill(t *testing.T) {
	all := []string{"a.safetensors", "b.safetensors", "config.json"}
	for arrived := range 4 {
		for _, strange := range []string{"", "thesis.txt"} {
			out := filepath.Join(t.TempDir(), "out")
			part := filepath.Join(out, "."+partName)
			list, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			testkit.Write(t, filepath.Join(part, movingName), string(list))
			for i, n := range all {
				dir := part
				if i < arrived {
					dir = out
				}
				testkit.Write(t, filepath.Join(dir, n), "old")
			}
			if strange != "" {
				testkit.Write(t, filepath.Join(out, strange), "precious")
			}
			s, err := NewStage(out, "busy")
			if refused := errs.Code(err) == int(errs.Usage); refused != (strange != "" || arrived == len(all)) {
				t.Errorf("%d arrived, beside %q: %v", arrived, strange, err)
			}
			if err != nil {
				if strange != "" && !strings.Contains(names(t, out), strange) || arrived > 0 && !strings.Contains(names(t, out), all[0]) {
					t.Errorf("%d arrived, beside %q: now %s", arrived, strange, names(t, out))
				}
				continue
			}
			if got := names(t, s.Dir); got != "" {
				t.Errorf("the part still holds %s", got)
			}
			testkit.Write(t, filepath.Join(s.Dir, "config.json"), "new")
			if err := s.Commit("config.json"); err != nil || names(t, out) != "config.json" {
				t.Errorf("%v: %s", err, names(t, out))
			}
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	testkit.Write(t, filepath.Join(filepath.Dir(out), ".out."+partName, "half"), "x")
	s, err := NewStage(out, "busy")
	if err != nil || names(t, s.Dir) != "" {
		t.Fatal(err, names(t, s.Dir))
	}
	if err := os.Mkdir(out, 0o755); err != nil { // who comes in between keeps what is his
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(out, "thesis.txt"), "precious")
	if err := s.Commit("config.json"); errs.Code(err) != int(errs.Usage) || names(t, out) != "thesis.txt" || names(t, filepath.Dir(out)) != "out" {
		t.Errorf("%v: %s in %s", err, names(t, out), names(t, filepath.Dir(out)))
	}
}

// A seal tells any change of what stands before it; the document stays JSON with the same fields.
func TestSeal(t *testing.T) {
	v := map[string]any{"text": "}\"sha256\": \"", "n": 1.5, "list": []int{1, 2}}
	flat, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	indented, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range [][]byte{flat, indented} {
		b := Seal(doc)
		if sealed, whole := Sealed(b); !sealed || !whole {
			t.Fatalf("not whole: %s", b)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil || got["text"] != v["text"] || len(got) != 4 {
			t.Errorf("%s: %v", b, err)
		}
		for i := range b {
			c := slices.Clone(b)
			c[i] ^= 1
			_, whole := Sealed(c)
			if json.Unmarshal(c, &got) == nil && whole && !bytes.Contains(b[i:], []byte("sha256")) && i < len(doc)-2 {
				t.Errorf("a change of byte %d, %q, is not seen", i, b[i])
			}
		}
		if sealed, _ := Sealed(doc); sealed {
			t.Error("taken for sealed")
		}
		if again := Seal(b); !bytes.HasPrefix(again, b[:len(b)-3]) {
			t.Errorf("sealed twice: %s", again)
		}
	}
	for _, s := range []string{"", "{}", "}", fmt.Sprintf(`"sha256":"%064d"}`, 0)} {
		if sealed, whole := Sealed([]byte(s)); sealed || whole {
			t.Errorf("%q is taken for sealed", s)
		}
	}
}

func FuzzSealed(f *testing.F) {
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte("{\n  \"a\": 1\n}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		Sealed(b)
		if _, whole := Sealed(Seal(b)); !whole {
			t.Errorf("%q is not whole when sealed: %q", b, Seal(b))
		}
	})
}
