package machine

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// CPU is the processor and what this program makes of it.
type CPU struct {
	Model   string   `json:"model"`
	Logical int      `json:"logical"` // processors that the system has
	Cores   int      `json:"cores"`   // physical cores; 0 where the system does not say
	Threads int      `json:"threads"` // that this program uses
	Sets    []string `json:"instruction_sets"`
	Kernels string   `json:"kernels"` // the set that the kernels use
}

// sets are the features that are worth a word, by the names of Linux.
var sets = []string{"sse4_2", "avx", "fma", "f16c", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl",
	"avx512_bf16", "amx_bf16",
	"asimd", "asimdhp", "sve", "bf16"}

// ThisCPU is the processor here; without /proc/cpuinfo its model is only the architecture.
func ThisCPU() CPU {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return parseCPU(string(text))
}

// parseCPU reads /proc/cpuinfo.
func parseCPU(text string) CPU {
	c := CPU{Model: runtime.GOARCH, Sets: []string{}}
	socket, cores := "", map[[2]string]bool{}
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "processor":
			c.Logical++
		case "model name":
			c.Model = value
		case "physical id":
			socket = value
		case "core id":
			cores[[2]string{socket, value}] = true
		case "flags", "Features":
			has := strings.Fields(value)
			c.Sets = slices.DeleteFunc(slices.Clone(sets), func(s string) bool { return !slices.Contains(has, s) })
		}
	}
	c.Cores = len(cores)
	return c
}

// Memory is the host's, in bytes.
type Memory struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"`    // what this process may still take
	Limit     int64 `json:"cgroup_limit"` // 0: none
}

// HostMemory is the memory here.
func HostMemory() (m Memory, err error) {
	if m.Total, err = procKiB("/proc/meminfo", "MemTotal"); err != nil {
		return m, err
	}
	if limit, _, ok := cgroupMemory(); ok {
		m.Limit = limit
	}
	m.Available, err = HostAvailable()
	return m, err
}

// DriverFiles are where an NVIDIA driver shows on Linux; the last is under Windows' Linux. A
// test names others.
var DriverFiles = []string{"/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1"}

// DriverHere reports whether there is an NVIDIA driver, whatever this build can do with it.
func DriverHere() bool {
	return slices.ContainsFunc(DriverFiles, func(f string) bool {
		_, err := os.Stat(f)
		return err == nil
	})
}

// NVIDIA is the driver's version, "" where the system does not say it, and the number of NVIDIA's display controllers
// on the PCI bus, whether or not there is a driver.
func NVIDIA() (version string, cards int) {
	text, _ := os.ReadFile("/proc/driver/nvidia/version")
	return parseDriver(string(text)), nvidiaCards("/sys/bus/pci/devices")
}

var versionNumber = regexp.MustCompile(`\s(\d+\.\d+(?:\.\d+)?)\s`)

// parseDriver is the version in the text of /proc/driver/nvidia/version, "" where it has none.
func parseDriver(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	if m := versionNumber.FindStringSubmatch(first + " "); m != nil {
		return m[1]
	}
	return ""
}

// nvidiaCards counts NVIDIA's display controllers in a folder of PCI devices.
func nvidiaCards(devices string) int {
	n := 0
	dirs, _ := filepath.Glob(filepath.Join(devices, "*"))
	for _, d := range dirs {
		vendor, _ := os.ReadFile(filepath.Join(d, "vendor"))
		class, _ := os.ReadFile(filepath.Join(d, "class"))
		if strings.TrimSpace(string(vendor)) == "0x10de" && strings.HasPrefix(string(class), "0x03") {
			n++
		}
	}
	return n
}
