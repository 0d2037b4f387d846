package files

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// A change anywhere in a file is seen, its length and time set back as they were: to the byte where the file is hashed
// whole, otherwise wherever it is longer than what lies between two samples. The time shows the rest.
func TestFingerprint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	const large = wholeBytes + 12345
	for _, c := range []struct {
		size, at, n int64
		whole       bool
		want        Change
	}{
		{size: 0, want: Unchanged}, {size: 1000, want: Unchanged}, {size: 1000, at: 500, n: 1, want: Changed},
		{size: wholeBytes, at: wholeBytes / 2, n: 1, want: Changed},
		{size: large, want: Unchanged},
		{size: large, at: 0, n: 1, want: Changed}, {size: large, at: large - 1, n: 1, want: Changed},
		{size: large, at: large / 3, n: large / samples, want: Changed},
		{size: large, at: edgeBytes + blockBytes + 1, n: 1, want: Touched},
		{size: large, at: edgeBytes + blockBytes + 1, n: 1, whole: true, want: Changed},
	} {
		testkit.Write(t, path, "")
		if err := os.Truncate(path, c.size); err != nil {
			t.Fatal(err)
		}
		now := func() Fingerprint {
			t.Helper()
			take := Sample
			if c.whole {
				take = Whole
			}
			p, err := take(path, "x")
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		was := now()
		if c.n > 0 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, c.n)
			for i := range b {
				b[i] = 'x'
			}
			if _, err := f.WriteAt(b, c.at); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		if err := os.Chtimes(path, time.Time{}, was.Time.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := now().Since(was); got != c.want && !(c.want == Unchanged && got == Touched && was.Sampled) {
			t.Errorf("%d bytes, %d of them changed at %d: %v, want %v", c.size, c.n, c.at, got, c.want)
		}
		if err := os.Chtimes(path, time.Time{}, was.Time); err != nil {
			t.Fatal(err)
		}
		if got := now().Since(was); got != c.want && c.want != Touched {
			t.Errorf("%d bytes, %d of them changed at %d, the time as before: %v, want %v", c.size, c.n, c.at, got, c.want)
		}
	}
}

// The hash of a whole file is the one that sha256sum prints.
func TestWholeIsSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	testkit.Write(t, path, "hello")
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("hello")))
	for _, take := range []func(string, string) (Fingerprint, error){Sample, Whole} {
		if p, err := take(path, "a name"); err != nil || p.SHA256 != want || p.Size != 5 || p.Name != "a name" || p.Sampled {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if _, err := Sample(path+"y", "y"); errs.Code(err) != int(errs.Data) {
		t.Errorf("a missing file: %v", err)
	}
}
