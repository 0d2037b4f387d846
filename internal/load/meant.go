package load

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Meant is the cause of an error of kind Data: a folder that is no adapter, where another one is.
type Meant struct {
	Adapter string // the folder that holds one
	text    string
}

func (m *Meant) Error() string { return m.text }

// Names in the folders of train and extend.
const (
	weightsName    = "adapter_model.safetensors"
	checkpointsDir = "checkpoints"
	extensionName  = "extend.json"
	extensionsDir  = "adapter"
)

var stepName = regexp.MustCompile(`^step-(\d{6,})$`)

// meant says of a folder without an adapter where one is; nil where nothing is known of it.
func meant(dir string) error {
	if has(dir, weightsName) {
		return nil
	}
	if inside := filepath.Join(dir, extensionsDir); has(dir, extensionName) {
		if has(inside, weightsName) {
			return errs.Dataf("%w", &Meant{inside, fmt.Sprintf("%s: the folder of an extend; its adapter is %s", dir, inside)})
		}
		dir = inside
	}
	if !has(dir, runName) {
		return nil
	}
	last, step := lastCheckpoint(dir)
	if last == "" {
		return errs.Dataf("%s: a training run that has neither its adapter nor a checkpoint yet; the command that began "+
			"it goes on with it", dir)
	}
	return errs.Dataf("%w", &Meant{last, fmt.Sprintf("%s: a training run whose adapter is not there yet: it is written when "+
		"all steps are done. Its last checkpoint, of step %d, is an adapter too: %s", dir, step, last)})
}

func has(dir, name string) bool {
	st, err := os.Stat(filepath.Join(dir, name))
	return err == nil && st.Mode().IsRegular()
}

// lastCheckpoint is the newest checkpoint of a run that has its adapter, "" without one.
func lastCheckpoint(dir string) (path string, step int) {
	entries, err := os.ReadDir(filepath.Join(dir, checkpointsDir))
	if err != nil {
		return "", 0
	}
	for _, e := range slices.Backward(entries) {
		m := stepName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		p := filepath.Join(dir, checkpointsDir, e.Name())
		if n, err := strconv.Atoi(m[1]); err == nil && n > step && has(p, weightsName) && has(p, runName) {
			path, step = p, n
		}
	}
	return path, step
}

// stale notes an adapter of a run that went on after it was written, and has not ended again.
func stale(dir string) string {
	var run struct {
		Kind   string          `json:"longlora"`
		Result json.RawMessage `json:"result"`
		Files  json.RawMessage `json:"files"` // of a checkpoint, which never changes
	}
	if !has(dir, runName) || files.ReadJSON(filepath.Join(dir, runName), &run) != nil || run.Kind == "" {
		return ""
	}
	if run.Result != nil || run.Files != nil {
		return ""
	}
	text := fmt.Sprintf("%s: the run went on after this adapter was written and has not ended since: the adapter is of "+
		"its last end", dir)
	if last, step := lastCheckpoint(dir); last != "" {
		text += fmt.Sprintf("; its last checkpoint, of step %d, is %s", step, last)
	}
	return text
}
