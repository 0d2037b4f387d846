package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/ops/cuda"
)

// A driver that this build cannot use is worth a warning, its absence is not.
func TestDriverWithoutCUDA(t *testing.T) {
	if cuda.Built {
		t.Skip("this build has CUDA")
	}
	was := machine.DriverFiles
	defer func() { machine.DriverFiles = was }()
	for files, warns := range map[string]bool{"device_test.go": true, "nothing-here": false} {
		machine.DriverFiles = []string{filepath.Join(".", files)}
		var log bytes.Buffer
		found, err := gpus("auto", &log)
		if len(found) != 0 || err != nil {
			t.Errorf("auto gave %v, %v", found, err)
		}
		if strings.Contains(log.String(), "make cuda") != warns {
			t.Errorf("with %s the log says %q", files, log.String())
		}
		if _, err := gpus("cuda", &log); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "--device cuda") {
			t.Errorf("cuda: %v", err)
		}
	}
}

func TestNumberOfTheGPU(t *testing.T) {
	two := make([]cuda.Info, 2)
	if err := onlyIn(two, 1); err != nil {
		t.Error(err)
	}
	if err := onlyIn(two, 2); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "cuda:2") {
		t.Errorf("cuda:2 of 2: %v", err)
	}
}
