package machine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseCPU(t *testing.T) {
	intel := `processor	: 0
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 0
core id		: 0
flags		: fpu sse4_2 avx fma f16c avx2 avx512f avx512bw avx512dq avx512vl amx_bf16

processor	: 1
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 0
core id		: 0
flags		: fpu sse4_2 avx fma f16c avx2 avx512f avx512bw avx512dq avx512vl amx_bf16

processor	: 2
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 1
core id		: 0
flags		: fpu sse4_2 avx fma f16c avx2 avx512f avx512bw avx512dq avx512vl amx_bf16
`
	c := parseCPU(intel)
	if c.Model != "Intel(R) Xeon(R) Platinum 8480+" || c.Logical != 3 || c.Cores != 2 ||
		strings.Join(c.Sets, " ") != "sse4_2 avx fma f16c avx2 avx512f avx512bw avx512dq avx512vl amx_bf16" {
		t.Errorf("Intel: %+v", c)
	}
	c = parseCPU("processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimdhp sve bf16\nCPU part\t: 0xd40\n")
	if c.Model == "" || c.Logical != 1 || c.Cores != 0 || strings.Join(c.Sets, " ") != "asimd asimdhp sve bf16" {
		t.Errorf("ARM: %+v", c)
	}
	if c = parseCPU(""); c.Sets == nil || c.Logical != 0 {
		t.Errorf("nothing: %+v", c)
	}
}

func TestParseDriver(t *testing.T) {
	for text, want := range map[string]string{
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:  gcc version 12.2.0\n":              "535.104.05",
		"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build  (dvs-builder@U22)\nGCC version:  gcc version 12.3.0 (x)\n": "580.65",
		"": "", "GCC version: none\n": "",
	} {
		if got := parseDriver(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNvidiaCards(t *testing.T) {
	dir := t.TempDir()
	for name, what := range map[string][2]string{"0000:01:00.0": {"0x10de", "0x030200"}, "0000:01:00.1": {"0x10de", "0x040300"}, "0000:02:00.0": {"0x8086", "0x030000"}} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755), os.WriteFile(filepath.Join(dir, name, "vendor"), []byte(what[0]+"\n"), 0o644),
			os.WriteFile(filepath.Join(dir, name, "class"), []byte(what[1]+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if n := nvidiaCards(dir); n != 1 {
		t.Errorf("%d cards, want the one display controller", n)
	}
}
