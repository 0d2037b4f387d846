package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// elsewhere are names under which other trainers (transformers, PEFT, axolotl, LLaMA-Factory, LongLoRA's scripts) have our
// options, where the letters alone would not lead there.
var elsewhere = map[string]string{
	"base-model": "model", "model-name": "model", "model-name-or-path": "model", "model-path": "model", "pretrained": "model",
	"adapter-name-or-path": "adapter", "lora-model-dir": "adapter", "peft-model": "adapter", "lora": "adapter",
	"dataset": "data", "datasets": "data", "data-path": "data", "data-dir": "data", "train-file": "data", "train-data": "data",
	"input": "data", "validation-file": "eval-data", "val-data": "eval-data", "val-size": "eval-fraction", "val-set-size": "eval-fraction",
	"output": "out", "output-dir": "out", "output-path": "out", "save-path": "out",
	"context": "ctx", "context-length": "ctx", "context-size": "ctx", "max-length": "ctx", "max-seq-length": "ctx",
	"max-seq-len": "ctx", "model-max-length": "ctx", "seq-len": "ctx", "seq-length": "ctx", "sequence-len": "ctx", "sequence-length": "ctx",
	"cutoff-len": "ctx", "block-size": "ctx", "learning-rate": "lr", "lora-r": "rank", "lora-rank": "rank", "r": "rank",
	"lora-alpha": "alpha", "lora-dropout": "dropout", "lora-target": "targets", "lora-target-modules": "targets",
	"target-modules": "targets", "lora-modules": "targets", "num-train-epochs": "epochs", "num-epochs": "epochs", "max-steps": "steps",
	"iters": "steps", "iterations": "steps", "batch-size": "batch", "micro-batch-size": "batch", "per-device-train-batch-size": "batch",
	"gradient-accumulation-steps": "accum", "gradient-accumulation": "accum", "grad-accum": "accum",
	"lr-scheduler": "schedule", "lr-scheduler-type": "schedule", "scheduler": "schedule", "warmup": "warmup-steps",
	"adam-beta1": "beta1", "adam-beta2": "beta2", "adam-epsilon": "eps", "adam-eps": "eps", "gradient-clipping": "max-grad-norm",
	"grad-clip": "max-grad-norm", "clip-grad": "max-grad-norm", "save-steps": "save-every", "save-total-limit": "keep",
	"eval-steps": "eval-every", "resume-from-checkpoint": "resume", "rope-scaling": "rope", "rope-scaling-type": "rope",
	"rope-scaling-factor": "rope-factor", "original-max-position-embeddings": "base-ctx", "sequence-packing": "pack",
	"sample-packing": "pack", "packing": "pack", "prompt-template": "template", "chat-template": "template", "train-on-inputs": "train-on-prompt",
	"gpu": "device", "precision": "dtype", "bf16": "dtype", "fp16": "dtype", "fp32": "dtype", "gpu-memory": "device-mem", "max-memory": "device-mem",
	"group-size-ratio": "group", "use-flash-attn": "attn", "attn-implementation": "attn", "max-new-tokens": "max-tokens",
	"window": "sliding-window", "attention-window": "sliding-window", "use-sliding-window": "sliding-window",
	"num-threads": "threads", "random-seed": "seed", "random-state": "seed", "low-rank-training": "tune", "finetuning-type": "tune",
}

// suggest completes a message on a name that is no option: with the option that the name means elsewhere, or the nearest one.
func suggest(name string, known []string) string {
	ours := elsewhere[strings.ReplaceAll(strings.ToLower(name), "_", "-")]
	if slices.Contains(known, ours) {
		return fmt.Sprintf("; did you mean %s?", ours)
	}
	return nearest(name, known)
}

// nearest suggests the known name closest to a mistyped one.
func nearest(name string, known []string) string {
	best, least := "", 1+len(name)/2
	names := slices.Sorted(slices.Values(known))
	for _, k := range names {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is the number of insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Suggest completes an unknown flag's error with the real one that may be meant.
func Suggest(flags *pflag.FlagSet, name string) string {
	var known []string
	flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if s := suggest(name, known); s != "" {
		return strings.Replace(s, "mean ", "mean --", 1)
	}
	return ""
}
