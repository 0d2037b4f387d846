package rundir

import (
	"bytes"
	"io"
	"path/filepath"

	"longlora/internal/files"
)

// Made reports whether a folder is one that this program, in any version, has written its work into: a training run, an
// extend, or an evaluation.
func Made(dir string) bool {
	for _, name := range []string{RecordFile, ExtensionFile} {
		if bytes.Contains(head(filepath.Join(dir, name), 200), []byte(`"longlora": "`)) {
			return true
		}
	}
	line, _, _ := bytes.Cut(head(filepath.Join(dir, JournalFile), 1<<20), []byte("\n"))
	_, whole := files.Sealed(line)
	return whole
}

// head is the beginning of a file; nothing where it cannot be read.
func head(path string, n int64) []byte {
	f, err := files.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, n))
	return b
}
