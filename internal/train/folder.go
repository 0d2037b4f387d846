package train

import (
	"slices"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// checkOut refuses an --out that holds anything but a training run. It reads nothing else.
func checkOut(c *Options) error {
	names, err := files.Contents(c.Out)
	if err != nil || len(names) == 0 {
		return err
	}
	if !slices.Contains(names, rundir.RecordFile) {
		dirs, err := rundir.Checkpoints(c.Out)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(dirs, func(d string) bool { _, err := readOwn(d); return err == nil }) {
			return errs.Usagef("%s %s: is not empty and no training run: it holds %s; give a folder that is empty or not there "+
				"yet", errs.Option("out"), c.Out, names[0])
		}
	} else if _, err := readOwn(c.Out); err != nil {
		return err
	}
	if c.Resume == "never" {
		return errs.Usagef("%s never: %s %s holds a run already; choose another folder or remove it", errs.Option("resume"),
			errs.Option("out"), c.Out)
	}
	return nil
}

// present refuses to go on where --out, or what is written there step by step, was taken away.
func (r *run) present() error {
	if err := r.folder.Check(); err != nil {
		return err
	}
	return r.metrics.lines.Check()
}
