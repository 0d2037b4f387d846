// Package rundir is what a run leaves in its folder: the names of its files, and how those are read that more than one
// command reads.
package rundir

import (
	"os"
	"path/filepath"
)

// Names in the folder of a training run.
const (
	RecordFile        = "run.json"
	ConfigFile        = "longlora.yaml" // the options, from which the same run can be started again
	MetricsFile       = "metrics.jsonl"
	EventsDir         = "tensorboard"
	CheckpointsDir    = "checkpoints"
	BestDir           = "best" // what was trained when the validation loss was least
	AdapterFile       = "adapter_model.safetensors"
	AdapterConfigFile = "adapter_config.json"
	MomentsFile       = "optimizer.safetensors" // of a checkpoint alone
)

// Names in the folder of an extend.
const (
	ExtensionFile = "extend.json"
	AdapterDir    = "adapter" // a training run's folder
	MergedDir     = "merged"  // a checkpoint
	EvaluatedDir  = "eval"    // the results of an evaluation for each model
	ReportFile    = "report.json"
)

// Names in the folder of an evaluation.
const (
	JournalFile = "windows.jsonl"
	ResultsFile = "results.json"
)

// PageFile is the page that report makes of any of these folders.
const PageFile = "report.html"

// Has reports whether a folder holds a regular file of this name.
func Has(dir, name string) bool {
	st, err := os.Stat(filepath.Join(dir, name))
	return err == nil && st.Mode().IsRegular()
}
