package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/errs"
)

// Contents are the names in a folder that is to be written into, without what this program left half written there;
// none where the folder is not there yet. What cannot become a folder is an error of kind Usage.
func Contents(out string) ([]string, error) {
	st, err := os.Stat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Clean(out) != out: // new/.. is where new would be
		return Contents(filepath.Clean(out))
	case errors.Is(err, fs.ErrNotExist):
		if to, err := os.Readlink(out); err == nil {
			return nil, errs.Usagef("%s %s: a link to %s, which is not there; make that folder, or give another",
				errs.Option("out"), out, to)
		}
		return nil, nil
	case err != nil:
		return nil, Fault(out, err)
	case !st.IsDir():
		return nil, errs.Usagef("%s %s: a file of that name is there; give a folder", errs.Option("out"), out)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return nil, Fault(out, err)
	}
	names := []string{}
	for _, e := range entries {
		if _, ours := tempOf(e.Name()); !ours {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
