package train

import (
	"os"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/ui"
)

// Metrics is one line of metrics.jsonl.
type Metrics struct {
	Step       int      `json:"step"`
	Loss       float64  `json:"loss"`
	GradNorm   float64  `json:"grad_norm"`
	LR         float64  `json:"lr"`
	Tokens     int64    `json:"tokens"`
	TokPerS    float64  `json:"tok_per_s"`
	StepS      float64  `json:"step_s"`
	DevicePeak int64    `json:"device_peak_bytes"`
	HostPeak   int64    `json:"host_peak_bytes"`
	EvalLoss   *float64 `json:"eval_loss,omitempty"`
	EvalSparse *float64 `json:"eval_loss_s2,omitempty"`
	EvalFull   *float64 `json:"eval_loss_full,omitempty"`
}

const metricsName = "metrics.jsonl"

// openMetrics opens --out's metrics with the lines of steps up to step and no others. from is the checkpoint that the
// run goes on from; when it lies in another run's folder, that run's lines are taken over.
func openMetrics(out, from string, step int) (*ui.Metrics, error) {
	path := filepath.Join(out, metricsName)
	other := filepath.Join(from, "..", "..")
	if theirs := filepath.Join(other, metricsName); from != "" && !sameDir(other, out) {
		if _, err := os.Stat(theirs); err == nil {
			if err := ckpt.CopyFile(path, theirs); err != nil {
				return nil, err
			}
		}
	}
	return ui.OpenMetrics(path, step)
}
