package folder

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"path/filepath"

	"slices"
	"strings"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// The files by which save_to_disk of Hugging Face's datasets says what a folder holds.
const (
	stateFile = "state.json"        // of a data set
	splitFile = "dataset_dict.json" // of a folder of them, one a split
)

// maxSaved bounds such a file, which names files at most.
const maxSaved = 64 << 20

// savedState is a state.json.
type savedState struct {
	Files []struct {
		Name string          `json:"filename"`
		Skip json.RawMessage `json:"skip"`
		Take json.RawMessage `json:"take"`
	} `json:"_data_files"`
	Indices    json.RawMessage `json:"_indices_files"`
	OldIndices json.RawMessage `json:"_indices_data_files"`
}

// something reports whether a field holds anything.
func something(v json.RawMessage) bool {
	return !slices.Contains([]string{"", "null", "[]", "{}"}, string(v))
}

// readState reads a state.json; nil where it is not one of datasets'.
func readState(path string) (*savedState, error) {
	b, err := files.Read(path, maxSaved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s savedState
	if json.Unmarshal(b, &s) != nil || len(s.Files) == 0 {
		return nil, nil
	}
	if something(s.Indices) || something(s.OldIndices) {
		return nil, errs.Dataf("%s: field \"_indices_files\": the rows are chosen or ordered by a list beside the data, "+
			"which is not read; write them out in their order with the version of datasets that wrote it: "+
			"datasets.load_from_disk(%q).flatten_indices().save_to_disk(NEW)", path, filepath.Dir(path))
	}
	for _, f := range s.Files {
		if something(f.Skip) || something(f.Take) {
			return nil, errs.Dataf("%s: field \"_data_files\": %s is used in part (skip, take), which is not read; "+
				"write it anew: datasets.load_from_disk(%q).save_to_disk(NEW)", path, f.Name, filepath.Dir(path))
		}
	}
	return &s, nil
}

// checkSaved refuses a file of a data set of which only some rows, or in another order, are meant.
func checkSaved(path string) error {
	if k, _ := datafile.KindOf(path); k != datafile.Arrow {
		return nil
	}
	_, err := readState(filepath.Join(filepath.Dir(path), stateFile))
	return err
}

// saved goes by what datasets wrote about the folders: which files are data and in which order, and which are splits.
func (d *listing) saved() error {
	for _, c := range []struct {
		name string
		by   func(dir string) error
	}{{splitFile, d.splits}, {stateFile, d.set}} {
		for _, f := range slices.Clone(d.files) {
			if filepath.Base(f) != c.name {
				continue
			}
			if err := c.by(filepath.Dir(f)); err != nil {
				return err
			}
		}
	}
	d.drop(func(f string) bool {
		dir := filepath.Dir(f)
		k, _ := datafile.KindOf(f)
		described := func(by string) bool { return slices.Contains(d.files, filepath.Join(dir, by)) }
		return k == datafile.Arrow && strings.HasPrefix(filepath.Base(f), "cache-") && (described(stateFile) ||
			described("dataset_info.json"))
	}, "left out, made by datasets' map or filter from the data: ")
	return nil
}

// set takes the files of a data set in its order, and leaves out other Arrow files beside them.
func (d *listing) set(dir string) error {
	at := filepath.Join(d.root, dir, stateFile)
	s, err := readState(at)
	if s == nil {
		return err
	}
	var named []string
	for _, f := range s.Files {
		name := filepath.Join(dir, filepath.FromSlash(path.Clean(f.Name)))
		if k, _ := datafile.KindOf(name); !slices.Contains(d.files, name) || k != datafile.Arrow {
			return errs.Dataf("%s: field \"_data_files\": there is no %s beside it; copy the whole folder", at, f.Name)
		}
		if !slices.Contains(named, name) {
			named = append(named, name)
		}
	}
	d.drop(func(f string) bool {
		k, _ := datafile.KindOf(f)
		return k == datafile.Arrow && filepath.Dir(f) == dir && !slices.Contains(named, f)
	}, "left out, not of the data set that "+stateFile+" names: ")
	next := 0
	for i, f := range d.files {
		if slices.Contains(named, f) {
			d.files[i] = named[next]
			next++
		}
	}
	return nil
}

// splits leaves out the splits that are not trained on. One that is called train is, else those whose names say so;
// where none does, all are.
func (d *listing) splits(dir string) error {
	at := filepath.Join(d.root, dir, splitFile)
	b, err := files.Read(at, maxSaved)
	if err != nil {
		return err
	}
	var s struct{ Splits []string }
	if json.Unmarshal(b, &s) != nil || len(s.Splits) == 0 {
		return nil
	}
	trained := func(name string) bool { return name == "train" }
	if !slices.ContainsFunc(s.Splits, trained) {
		trained = func(name string) bool { return splitIn(name, false) == train }
	}
	if !slices.ContainsFunc(s.Splits, trained) {
		return nil
	}
	other := map[string]bool{}
	for _, name := range s.Splits {
		folder := filepath.Join(dir, name)
		other[folder] = !trained(name)
		if trained(name) && !slices.ContainsFunc(d.files, func(f string) bool { return filepath.Dir(f) == folder }) {
			return errs.Dataf("%s: field \"splits\": there is no folder %s with data beside it; copy the whole folder", at, name)
		}
	}
	d.files = slices.DeleteFunc(d.files, func(f string) bool { // of which nothing is to be said
		return other[filepath.Dir(f)] && slices.Contains(metadata, filepath.Base(f))
	})
	d.drop(func(f string) bool { return other[filepath.Dir(f)] }, "left out, of other splits than the one to train on "+
		"(name one to read it): ")
	return nil
}
