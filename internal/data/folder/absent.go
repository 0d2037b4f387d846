package folder

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
)

// absentData is the fault of a path where nothing is, with what to do where it is of a form that other programs take.
func absentData(path string, err error) error {
	first, _, _ := strings.Cut(path, "/")
	if path == "-" {
		return errs.Dataf("%s: what comes from another program is not read; write it into a file first", path)
	}
	if strings.Contains(path, "://") {
		return errs.Dataf("%s: an address, from which nothing is loaded; download it first with: curl -LO %s", path,
			errs.Quoted(path))
	}
	list := matching(path)
	if names := strings.Split(path, ","); len(names) > 1 && allExist(names) {
		list = names
	}
	if len(list) > 0 {
		return errs.Dataf("%s: no file of that name; name one of those that are there (%s), or their folder", path,
			Few(list))
	}
	if st, _ := os.Lstat(path); st == nil && hub.IsName(path) && !exists(first) && !strings.ContainsAny(path, " ~") {
		return errs.Dataf("%s: no such file or directory; if it is a data set of Hugging Face, download it with: "+
			"hf download --repo-type dataset %[1]s --local-dir %s (then %[2]s is its folder)", path, filepath.Base(path))
	}
	return files.Fault(path, err)
}

// matching are the files that a path is a pattern of; none where it takes long to find them, as from the root of the
// file system: they are only for a message.
func matching(path string) []string {
	found := make(chan []string, 1)
	go func() {
		list, _ := filepath.Glob(path)
		found <- list
	}()
	select {
	case list := <-found:
		return list
	case <-time.After(time.Second):
		return nil
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func allExist(paths []string) bool {
	for _, p := range paths {
		if !exists(p) {
			return false
		}
	}
	return true
}
