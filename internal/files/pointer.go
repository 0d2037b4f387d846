package files

import (
	"bytes"
	"io"
	"os"

	"longlora/internal/errs"
)

// pointerSize is the length that git-lfs itself never lets a pointer reach.
const pointerSize = 1024

// isPointer reports whether b is the whole of a git-lfs pointer: the lines that stand in a file's place where a
// repository was fetched without its large files (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
func isPointer(b []byte) bool {
	if len(b) >= pointerSize {
		return false
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // as some editors save it
	for _, v := range []string{"version https://git-lfs.", "version https://hawser."} {
		if bytes.HasPrefix(b, []byte(v)) && bytes.Contains(b, []byte("\noid ")) && bytes.Contains(b, []byte("\nsize ")) {
			return true
		}
	}
	return false
}

// pointerError is what is said of a git-lfs pointer, wherever one lies.
func pointerError(path string) error {
	return errs.Dataf("%s: a git-lfs pointer, not the file itself, which was never fetched; run `git lfs install && git "+
		"lfs pull` in its repository, or download the file again", path)
}

// pointer refuses a file that is a git-lfs pointer.
func pointer(f *os.File, path string, size int64) error {
	if size >= pointerSize {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, pointerSize))
	if err != nil {
		return Fault(path, err)
	}
	if isPointer(b) {
		return pointerError(path)
	}
	return nil
}
