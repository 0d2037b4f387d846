package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops/cuda"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"longlora": main})
}

// The scripts in testdata/script run the program as a shell does. $GOLDEN is the folder of the reference cases.
func TestScripts(t *testing.T) {
	golden, err := filepath.Abs("../../testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOLDEN", golden)
			e.Setenv("PORT", freePort(t))
			e.Setenv("LONGLORA_RECIPE", "paper") // a script that is of another one names it
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "cgo":
				return kernels.Cgo, nil
			case "cuda": // this build has CUDA and there is a GPU
				found, err := cuda.Devices()
				return len(found) > 0, err
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"code": code},
	})
}

// freePort is one that nobody listens on as yet.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// code runs the program and checks its exit code: code 2 train --ctx 1. Nothing of a Go stack may be printed.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N args…")
	}
	sh := `longlora "$@"; c=$?; [ $c = ` + args[0] + ` ] || { echo "exit code $c" >&2; exit 1; }`
	ts.Check(ts.Exec("sh", append([]string{"-c", sh, "sh"}, args[1:]...)...))
	if os.Getenv("LONGLORA_DEBUG") == "" && strings.Contains(ts.ReadFile("stderr"), "goroutine ") {
		ts.Fatalf("a stack was printed")
	}
}
