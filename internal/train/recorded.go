package train

import (
	"path/filepath"

	"longlora/internal/rundir"
)

// FromRecord is what a setting comes from that is the record's.
const FromRecord = "record"

// Recorded are the options that a run in a folder recorded, as text, which one that goes on from it has where it is
// given no others, and what gave those that recipes set; resume is auto, never, or a checkpoint's folder. nil where
// there is nothing to go on from: what is wrong with it is said where it is gone on from.
func Recorded(out, resume string) (options, origins map[string]string) {
	if out == "" || resume == "never" {
		return nil, nil
	}
	dirs := []string{resume}
	if resume == "auto" {
		dirs = []string{out}
		saved, _ := rundir.Checkpoints(out)
		for i := len(saved) - 1; i >= 0; i-- {
			dirs = append(dirs, saved[i])
		}
	}
	for _, dir := range dirs {
		if r, err := readOwn(filepath.Clean(dir)); err == nil {
			return r.Options, r.Origins
		}
	}
	return nil, nil
}
