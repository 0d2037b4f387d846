package load

import (
	"fmt"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/rundir"
)

// Meant is the cause of an error of kind Data: a folder that is no adapter, where another one is.
type Meant struct {
	Adapter string // the folder that holds one
	text    string
}

func (m *Meant) Error() string { return m.text }

// meant says of a folder without an adapter where one is; nil where nothing is known of it.
func meant(dir string) error {
	if rundir.Has(dir, rundir.AdapterFile) {
		return nil
	}
	if inside := filepath.Join(dir, rundir.AdapterDir); rundir.Has(dir, rundir.ExtensionFile) {
		if rundir.Has(inside, rundir.AdapterFile) {
			return errs.Dataf("%w", &Meant{inside, fmt.Sprintf("%s: the folder of an extend; its adapter is %s", dir, inside)})
		}
		dir = inside
	}
	if !rundir.Has(dir, rundir.RecordFile) {
		return nil
	}
	last, step := rundir.LastAdapter(dir)
	if last == "" {
		return errs.Dataf("%s: a training run that has neither its adapter nor a checkpoint yet; the command that began "+
			"it goes on with it", dir)
	}
	return errs.Dataf("%w", &Meant{last, fmt.Sprintf("%s: a training run whose adapter is not there yet: it is written "+
		"when all steps are done. Its last checkpoint, of step %d, is an adapter too: %s", dir, step, last)})
}

// stale notes an adapter of a run that went on after it was written, and has not ended again.
func stale(dir string) string {
	run, err := rundir.ReadHead(dir)
	if err != nil || run == nil || run.Kind == "" || run.Result != nil || run.Files != nil { // a checkpoint never changes
		return ""
	}
	text := fmt.Sprintf("%s: the run went on after this adapter was written and has not ended since: the adapter is of "+
		"its last end", dir)
	if last, step := rundir.LastAdapter(dir); last != "" {
		text += fmt.Sprintf("; its last checkpoint, of step %d, is %s", step, last)
	}
	return text
}

// foreign notes an adapter of a run whose base was another than this one, or this one before it was changed; "" where
// it was this one, or nothing tells.
func (b *Base) foreign(dir string) (string, error) {
	run, err := rundir.ReadHead(dir)
	if err != nil || run == nil || b.Weights == nil {
		return "", err
	}
	now, err := rundir.FingerprintModel(b.Dir, b.Weights.Files)
	if err != nil {
		return "", err
	}
	how := run.Differs(now)
	if how == "" {
		return "", nil
	}
	return fmt.Sprintf("%s: the adapter was trained beside another base, or %s has changed since (%s): unless these are "+
		"the same weights in other files, the adapter does here what it was not trained to do",
		filepath.Join(dir, rundir.RecordFile), b.Dir, how), nil
}
