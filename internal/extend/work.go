package extend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/train"
)

// work is extend.json: what the command in this folder is, what it read, and what it merged.
type work struct {
	Kind    string              `json:"longlora"` // workKind
	Options map[string]string   `json:"options"`
	Model   rundir.Model        `json:"model"`
	Data    []files.Fingerprint `json:"data"`             // what is evaluated on
	Merged  []files.Fingerprint `json:"merged,omitempty"` // written down before merged/ gets its name
}

const workKind = "extension 2"

// checkOut refuses an --out that holds anything but an extension. It reads nothing else.
func checkOut(c *Options) error {
	names, err := files.Contents(c.Out)
	if err != nil || len(names) == 0 {
		return err
	}
	if !slices.Contains(names, rundir.ExtensionFile) {
		return errs.Usagef("%s %s: is not empty and no work of extend: it holds %s; give a folder that is empty or not "+
			"there yet", errs.Option("out"), c.Out, names[0])
	}
	if _, err := readWork(c.Out); err != nil {
		return err
	}
	if c.Resume == "never" {
		return errs.Usagef("%s never: %s %s holds the work of an extend already; choose another folder or "+
			"remove it", errs.Option("resume"), errs.Option("out"), c.Out)
	}
	return nil
}

// readWork reads extend.json as this version wrote it.
func readWork(out string) (w work, err error) {
	path := filepath.Join(out, rundir.ExtensionFile)
	b, err := files.Read(path, maxWork)
	if err != nil {
		return w, err
	}
	if sealed, whole := files.Sealed(b); sealed && !whole {
		return w, errs.Dataf("%s: not as it was written: damaged, or changed by hand; give another %s", path,
			errs.Option("out"))
	} else if !sealed {
		return w, errs.Usagef("%s: not the record of an extend of this version; give another %s", path, errs.Option("out"))
	}
	if err := files.ReadJSON(path, &w); err != nil {
		return w, err
	}
	if w.Kind != workKind {
		return w, errs.Usagef("%s: of another version of this program, or of another program; give another %s", path,
			errs.Option("out"))
	}
	return w, nil
}

// maxWork is longer than the record of any extension.
const maxWork = 32 << 20

// Recorded are the options that the work in a folder recorded, as text; nil where there is none to go on with: what is
// wrong with it is said where it is gone on with.
func Recorded(out string) map[string]string {
	if out == "" {
		return nil
	}
	w, err := readWork(out)
	if err != nil {
		return nil
	}
	for name, text := range w.Options { // a list stands there as [a b]
		if list, ok := strings.CutPrefix(text, "["); ok {
			w.Options[name] = strings.ReplaceAll(strings.TrimSuffix(list, "]"), " ", ",")
		}
	}
	return w.Options
}

func (w work) write(out string) error {
	return files.WriteSealed(filepath.Join(out, rundir.ExtensionFile), w)
}

// claim writes down what this command is, or compares it with what began in --out. What the training would refuse is
// refused first, before the evaluation of the base takes its time.
func (e *extension) claim(ctx context.Context) error {
	begun, err := e.begun()
	switch {
	case err != nil:
		return err
	case begun:
		return files.Sweep(e.cfg.Out)
	}
	if err := e.begin(ctx); err != nil {
		return err
	}
	return e.work.write(e.cfg.Out)
}

// begun reports whether this very work began in --out before, and is as it was left; other work is refused.
func (e *extension) begun() (bool, error) {
	w := work{Kind: workKind, Options: map[string]string{}}
	for _, x := range e.cfg.Given {
		if x.Option != "out" && x.Resume != train.Free {
			w.Options[string(x.Option)] = files.Kept(fmt.Sprint(x.Value))
		}
	}
	e.cfg.Meant(w.Options, e.base.Desc().C, e.cfg.Steps)
	var err error
	if w.Model, err = rundir.FingerprintModel(e.base.Dir, e.base.Weights.Files); err != nil {
		return false, err
	}
	if w.Data, err = e.stream.Fingerprints(); err != nil {
		return false, err
	}
	e.work = w
	old, err := readWork(e.cfg.Out)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		e.work.Merged = old.Merged
		err = old.compare(w, e.cfg.Out, func(name string) bool {
			unset := func(x train.Setting) bool { return string(x.Option) == name && !x.Given }
			return slices.ContainsFunc(e.cfg.Given, unset)
		})
	}
	if err == nil {
		e.merged, err = e.work.merged(e.cfg.Out) // said now, not after hours of work
	}
	return true, err
}

// compare refuses to go on with other work, naming the first difference with both values. An option that the record
// does not speak of is younger than it, and has its default unless it is given now.
func (w work) compare(now work, out string, byDefault func(name string) bool) error {
	keys := slices.Collect(maps.Keys(now.Options))
	for k := range w.Options {
		if _, ok := now.Options[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		was, known := w.Options[k]
		if is := now.Options[k]; was != is && (known || !byDefault(k)) {
			return errs.Usagef("--%s: the work in %s began with %q, this command has %q; use the same, or another %s",
				k, out, was, is, errs.Option("out"))
		}
	}
	if w.Model.Config != now.Model.Config {
		return errs.Usagef("%s: config.json is not the one that the work in %s began with; bring that back, or give "+
			"another %s", errs.Option("model"), out, errs.Option("out"))
	}
	for _, f := range []struct {
		flag    string
		was, is []files.Fingerprint
	}{{errs.Option("model").String(), w.Model.Files, now.Model.Files}, {"what is evaluated on", w.Data, now.Data}} {
		if len(f.was) != len(f.is) {
			return errs.Usagef("%s: %d files, the work in %s began with %d; bring those back, or give another %s",
				f.flag, len(f.is), out, len(f.was), errs.Option("out"))
		}
		for i, is := range f.is {
			if is.Name != f.was[i].Name || is.Since(f.was[i]) == files.Changed {
				return errs.Usagef("%s: %s is not the file that the work in %s began with; bring that back, or give "+
					"another %s", f.flag, is.Name, out, errs.Option("out"))
			}
		}
	}
	return nil
}

// record writes down the files of a merged model that has not got its name yet.
func (w *work) record(out, dir string) error {
	var err error
	if w.Merged, err = files.Folder(dir); err != nil {
		return err
	}
	return w.write(out)
}

// merged reports whether the merged model is there, every file as it was written down.
func (w work) merged(out string) (bool, error) {
	dir := filepath.Join(out, rundir.MergedDir)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if len(w.Merged) == 0 {
		return false, errs.Usagef("%s: was not written by this extend; move it away, and the same command writes it", dir)
	}
	if err := files.Intact(dir, w.Merged); err != nil {
		return false, fmt.Errorf("%w; move merged away, and the same command writes it again", err)
	}
	return true, nil
}
