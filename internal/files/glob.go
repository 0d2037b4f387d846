package files

import (
	"path/filepath"
	"strings"
)

// Glob lists what a pattern names below a folder, in the order of the names. The folder's own letters are never taken
// for a pattern.
func Glob(dir, pattern string) []string {
	plain := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
	list, _ := filepath.Glob(filepath.Join(plain, pattern)) // the patterns are ours, and well formed
	return list
}

// Inside reports whether a path, through all its links, lies in a folder or is it.
func Inside(path, dir string) bool {
	p, err1 := filepath.EvalSymlinks(path)
	d, err2 := filepath.EvalSymlinks(dir)
	if err1 != nil || err2 != nil {
		return false
	}
	p, err1 = filepath.Abs(p)
	d, err2 = filepath.Abs(d)
	if err1 != nil || err2 != nil {
		return false
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && filepath.IsLocal(rel)
}
