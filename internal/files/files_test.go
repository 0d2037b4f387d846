package files

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

// Only a regular file opens, itself or through a link; each other thing is named, and nothing is waited for.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		testkit.Write(t, at(name), text)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write("text", "hello")
	write("empty", "")
	write("lfs", lfs)
	write("crlf", strings.ReplaceAll(lfs, "\n", "\r\n"))
	must(os.Symlink("text", at("link")))
	must(os.Symlink("pipe", at("link-to-pipe")))
	must(os.Symlink("nowhere", at("dangling")))
	must(os.Symlink("loop", at("loop")))
	must(unix.Mkfifo(at("pipe"), 0o644))
	l, err := net.Listen("unix", at("socket"))
	must(err)
	defer func() { _ = l.Close() }()
	for name, want := range map[string]string{
		"text": "", "empty": "", "link": "",
		"pipe": "a pipe where a file is wanted", "link-to-pipe": "a pipe where", "socket": "a socket where", ".": "a folder where",
		"/dev/zero": "a device where", "lfs": "git-lfs pointer", "crlf": "git-lfs pointer",
		"nowhere": "no such file", "dangling": "a link to nowhere: file does not exist", "text/x": "not a directory", "loop": "too many",
	} {
		path := name
		if !filepath.IsAbs(name) {
			path = dir + "/" + name
		}
		f, err := Open(path)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			f.Close()
			continue
		}
		if err == nil || errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: %v, which does not begin with the path and say %q", name, err, want)
		}
	}
	if _, err := Open(at("nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is not ErrNotExist: %v", err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	testkit.Write(t, path, "12345")
	if b, err := Read(path, 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Read(path, 4); errs.Code(err) != int(errs.Data) {
		t.Errorf("5 bytes where at most 4 are allowed: %v", err)
	}
}

// A text that speaks of pointers is none.
func TestPointer(t *testing.T) {
	for text, want := range map[string]bool{
		lfs: true, "\ufeff" + lfs: true, "version https://hawser.github.com/spec/v1\noid sha256:00\nsize 1\n": true,
		"": false, "version https://git-lfs.github.com/spec/v1 is how a pointer begins": false,
		" " + lfs: false, "See:\n" + lfs: false, lfs + strings.Repeat("x", pointerSize): false,
	} {
		if isPointer([]byte(text)) != want {
			t.Errorf("isPointer(%.60q) is not %v", text, want)
		}
	}
}

// What the system says is said without the name of its call.
func TestFault(t *testing.T) {
	_, err := os.Open("/nowhere/x")
	if got := Fault("/nowhere/x", err).Error(); got != "/nowhere/x: no such file or directory" {
		t.Error(got)
	}
	err = os.Rename("/nowhere/x", "/nowhere/y")
	if got := Fault("/nowhere/y", err).Error(); got != "/nowhere/y: no such file or directory" {
		t.Error(got)
	}
	if known := errs.Usagef("a fault"); Fault("x", known) != known {
		t.Error("an error with a kind changed")
	}
}

// A disk that takes nothing is answered by what to do about it, whoever writes.
func TestFaultsOfDisks(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.ENOSPC: "a/b: the disk is full; make room and run the same command again: no space left on device",
		syscall.EDQUOT: "a/b: the disk is full; make room and run the same command again: disk quota exceeded",
		syscall.EROFS:  "a/b: read-only file system; give a place that can be written to",
	} {
		if err := Fault("a/b", &os.PathError{Op: "write", Path: "a/.b.tmp", Err: cause}); errs.Code(err) != 4 || err.Error() != want {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	err := WriteAtomic(filepath.Join(dir, "x"), func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 100)); err != nil {
			return err
		}
		return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	})
	if list, _ := os.ReadDir(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), "disk is full") || len(list) != 0 {
		t.Errorf("%v, the folder holds %v", err, list)
	}
}
