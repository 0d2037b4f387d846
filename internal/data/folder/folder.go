// Package folder finds the data files of a path: those of a folder that are documents to train on, without cards,
// metadata and other splits, as Hugging Face's datasets takes them; and it says what it leaves out, and why.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// listing is a folder of data being listed.
type listing struct {
	root  string
	out   string               // the folder of results, which may lie here
	seen  map[[2]uint64]string // the folders that were entered, by device and inode
	links []string             // to folders, not yet followed
	files []string             // data files
	other []string             // files of other kinds
	runs  []string             // folders that this program has written its work into
	notes []string             // what is left out, and why
}

// Files are the files of a path, those of a folder sorted by the bytes of their path relative to it. Names that begin
// with a dot are passed over; what else is left out is said in the notes, and so are out, the folder of results ("" for
// none), and those of other runs, where they lie there: what a run wrote is data neither when it goes on nor of the
// next one, and its metrics and records would be read as documents. Where nothing is, or nothing to read, the
// error is a data error, with what to do where the path is of a form that other programs take.
func Files(path, out string) (list, notes []string, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, absentData(path, err)
	}
	if err != nil {
		return nil, nil, files.Fault(path, err)
	}
	if !st.IsDir() {
		return []string{path}, nil, checkSaved(path)
	}
	d := &listing{root: path, out: out, seen: map[[2]uint64]string{}}
	if err := d.enter("."); err != nil {
		return nil, nil, err
	}
	for len(d.links) > 0 { // after the folders that lie here, so that each is read under its own name
		l := d.links[0]
		d.links = d.links[1:]
		if err := d.enter(l); err != nil {
			return nil, nil, err
		}
	}
	if err := d.sift(); err != nil {
		return nil, nil, err
	}
	if len(d.files) == 0 {
		hint := ""
		if held := slices.Concat(d.other, d.runs); len(held) > 0 {
			hint = "; it has " + Few(held)
		}
		return nil, nil, errs.Dataf("%s: the folder holds no %s file%s", path, datafile.Known, hint)
	}
	if len(d.other) > 0 {
		d.note("%s passed over, no data files: %s", Number(len(d.other)), Few(d.other))
	}
	if n := len(d.runs); n > 0 {
		are := "1 folder is"
		if n > 1 {
			are = fmt.Sprintf("%d folders are", n)
		}
		d.note("%s left out, which longlora wrote: %s", are, Few(d.runs))
	}
	for _, f := range d.files {
		list = append(list, d.at(f))
	}
	return list, d.notes, nil
}

// at is the path of a name relative to the root.
func (d *listing) at(name string) string { return filepath.Join(d.root, name) }

func (d *listing) note(format string, a ...any) {
	d.notes = append(d.notes, fmt.Sprintf("%s: %s", d.root, fmt.Sprintf(format, a...)))
}

// Number counts files in a note: "1 file is" or "2 files are".
func Number(n int) string {
	if n == 1 {
		return "1 file is"
	}
	return fmt.Sprintf("%d files are", n)
}

// Few names files in a note, of many the first.
func Few(names []string) string {
	const most = 3
	names = slices.Sorted(slices.Values(names))
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// enter lists a folder and those in it. Links to folders wait until all else was listed; one that leads to a folder
// that was entered already, as a link to a folder above it does, ends there.
func (d *listing) enter(dir string) error {
	st, err := os.Stat(d.at(dir))
	if err != nil {
		return files.Fault(d.at(dir), err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		id := [2]uint64{uint64(sys.Dev), sys.Ino}
		if was, ok := d.seen[id]; ok {
			d.note("the link %s is not followed: it leads to %s, which is read already", dir, d.at(was))
			return nil
		}
		d.seen[id] = dir
	}
	if dir != "." && d.out != "" && files.SameDir(d.at(dir), d.out) {
		d.note("the folder %s is left out: it is %s", dir, errs.Option("out"))
		return nil
	}
	if dir != "." && rundir.Made(d.at(dir)) {
		d.runs = append(d.runs, dir)
		return nil
	}
	entries, err := os.ReadDir(d.at(dir))
	if err != nil {
		return files.Fault(d.at(dir), err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			if st, err := os.Stat(d.at(name)); err == nil {
				if mode = st.Mode(); mode.IsDir() {
					d.links = append(d.links, name)
					continue
				}
			}
		}
		switch k, _ := datafile.KindOf(name); {
		case mode.IsDir():
			if err := d.enter(name); err != nil {
				return err
			}
		case k == datafile.Unknown:
			if !strings.HasSuffix(name, datafile.IndexPath(".bin")) {
				d.other = append(d.other, name)
			}
		case !strings.HasSuffix(name, datafile.SidecarPath(".bin")):
			d.files = append(d.files, name)
		}
	}
	return nil
}

// metadata are the files in which Hugging Face's tools say what a data folder holds; none is a document.
var metadata = []string{"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}

// papers are the texts that accompany data.
var papers = []string{"readme", "license", "licence", "copying", "notice", "changelog", "citation", "contributing",
	"code_of_conduct", "security", "authors"}

// paper reports whether a file's name is one of papers, perhaps with a language or another addition behind.
func paper(name string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(filepath.Base(name)), ".")
	for _, p := range papers {
		if rest, ok := strings.CutPrefix(stem, p); ok && (rest == "" || strings.ContainsRune("-_ ", rune(rest[0]))) {
			return true
		}
	}
	return false
}

// sift leaves out what is no document of the folder: metadata, the texts that accompany structured data, and the files
// of other splits than the one to train on.
func (d *listing) sift() error {
	slices.Sort(d.files)
	if err := d.saved(); err != nil {
		return err
	}
	d.drop(func(f string) bool { return slices.Contains(metadata, filepath.Base(f)) }, "left out as metadata: ")
	if slices.ContainsFunc(d.files, func(f string) bool { k, _ := datafile.KindOf(f); return k.Structured() }) {
		d.drop(func(f string) bool { k, _ := datafile.KindOf(f); return k == datafile.Text && paper(f) },
			"left out, text that accompanies the data: ")
	}
	if slices.ContainsFunc(d.files, func(f string) bool { k, _ := datafile.KindOf(f); return k != datafile.Tokens }) {
		d.drop(func(f string) bool {
			k, _ := datafile.KindOf(f)
			return k == datafile.Tokens && exists(datafile.IndexPath(d.at(f)))
		},
			"left out, prepared tokens beside other data (name one to read it): ")
	}
	other := otherSplits(d.files, d.byCard())
	d.drop(func(f string) bool { return other[f] }, "left out, of other splits than the one to train on (name one to "+
		"read it): ")
	d.noteAlike()
	return nil
}

// noteAlike says which files are there compressed and not, and so are read twice.
func (d *listing) noteAlike() {
	seen := map[string]bool{}
	var again []string
	for _, f := range d.files {
		_, compressed := datafile.KindOf(f)
		plain := f[:len(f)-len(compressed)]
		if seen[plain] {
			again = append(again, f)
		}
		seen[plain] = true
	}
	if n := len(again); n > 0 {
		d.note("%s there under the same name uncompressed or otherwise compressed, and all are read: %s", Number(n),
			Few(again))
	}
}

// drop takes files out and says which.
func (d *listing) drop(which func(string) bool, why string) {
	var out []string
	d.files = slices.DeleteFunc(d.files, func(f string) bool {
		drop := which(f)
		if drop {
			out = append(out, f)
		}
		return drop
	})
	if len(out) > 0 {
		d.note("%s %s%s", Number(len(out)), why, Few(out))
	}
}
