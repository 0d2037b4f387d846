package data

import (
	"io/fs"
	"os"
	"slices"
	"time"
)

// noteTwice says of a source that it reads a file that one before it has read, by whatever name: its documents count
// twice, which may be meant, and is easily done with a folder and a file of it.
func (s *Set) noteTwice(src *source) {
	for _, before := range s.sources {
		if f := common(before, src); f != "" {
			src.note("%s %s: %s is read for %s %s too, and counts twice; leave one out where that is not meant",
				s.opt.flag(), src.path, f, s.opt.flag(), before.path)
			return
		}
	}
}

// common is the first file of a source that another reads too, through all links; "" for none.
func common(other, src *source) string {
	type look struct { // by which most files differ, so that few are compared
		size int64
		at   time.Time
	}
	of := func(x fs.FileInfo) look { return look{x.Size(), x.ModTime()} }
	alike := map[look][]fs.FileInfo{}
	for _, x := range other.was {
		alike[of(x)] = append(alike[of(x)], x)
	}
	for _, f := range src.files {
		x := src.was[f]
		if slices.ContainsFunc(alike[of(x)], func(y fs.FileInfo) bool { return os.SameFile(x, y) }) {
			return f
		}
	}
	return ""
}
