package rundir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"longlora/internal/errs"
)

// A checkpoint is a folder step-NNNNNN of a run: the trained tensors as an adapter (or, where all weights are trained,
// as a Hugging Face checkpoint in float32), AdamW's moments, and run.json.
var stepName = regexp.MustCompile(`^step-(\d{6,})$`)

// CheckpointDir is the folder of a run's checkpoint after so many steps.
func CheckpointDir(run string, step int) string {
	return filepath.Join(run, CheckpointsDir, fmt.Sprintf("step-%06d", step))
}

// StepOf is the step in a checkpoint folder's name, -1 in another name.
func StepOf(dir string) int {
	if m := stepName.FindStringSubmatch(filepath.Base(dir)); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return -1
}

// Checkpoints lists a run's checkpoints by step, the last one last; none where there is no run.
func Checkpoints(run string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(run, CheckpointsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errs.Dataf("%w", err)
	}
	var dirs []string
	for _, e := range entries {
		if StepOf(e.Name()) >= 0 && e.IsDir() {
			dirs = append(dirs, filepath.Join(run, CheckpointsDir, e.Name()))
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return StepOf(a) - StepOf(b) })
	return dirs, nil
}

// LastAdapter is a run's newest checkpoint that is an adapter, and its step; "" without one.
func LastAdapter(run string) (dir string, step int) {
	dirs, err := Checkpoints(run)
	if err != nil {
		return "", 0
	}
	for _, d := range slices.Backward(dirs) {
		if n := StepOf(d); n > 0 && Has(d, AdapterFile) && Has(d, RecordFile) {
			return d, n
		}
	}
	return "", 0
}
