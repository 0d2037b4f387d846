package plan

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"longlora/internal/config"
	"longlora/internal/errs"
)

// driverSlack is left free where no limit is given: the driver rounds regions up and loads kernels when they are first used.
const driverSlack = 64 << 20

// LimitsOf are the memory limits that the options give; used is what the process holds already, which counts.
func LimitsOf(c *config.Common, m Machine, used int64) (Limits, error) {
	var lim Limits
	var err error
	if !m.OnHost {
		lim.Device = m.Memory - driverSlack
	}
	if c.DeviceMem != "" && !m.OnHost {
		if lim.Device, err = config.ParseBytes("device-mem", c.DeviceMem); err != nil {
			return lim, err
		}
		if m.be != nil { // on a card that is here, what others hold cannot be had
			lim.Device = min(lim.Device, m.Memory)
		}
	}
	lim.Host, err = HostLimit(c)
	if c.HostMem == "" {
		lim.Host += used
	}
	return lim, err
}

// HostLimit is the host memory that the options give, or else a part of what is available, in bytes.
func HostLimit(c *config.Common) (int64, error) {
	if c.HostMem != "" {
		return config.ParseBytes("host-mem", c.HostMem)
	}
	free, err := HostAvailable()
	if err != nil {
		return 0, errs.Usagef("--host-mem: the system does not say what memory is available (%v); give a size", err)
	}
	return free / 5 * 4, nil
}

// HostAvailable is the memory that this process may still take, in bytes: what the kernel says is available, or
// what the control group leaves where that is less.
func HostAvailable() (int64, error) {
	n, err := procKiB("/proc/meminfo", "MemAvailable")
	if err != nil {
		return 0, err
	}
	if _, free, ok := Cgroup(); ok {
		n = min(n, free)
	}
	return n, nil
}

// HostTotal is the machine's memory, in bytes.
func HostTotal() (int64, error) { return procKiB("/proc/meminfo", "MemTotal") }

// RssAnon is the anonymous memory of this process that is resident, in bytes; mapped files are not in it.
func RssAnon() (int64, error) { return procKiB("/proc/self/status", "RssAnon") }

// procKiB reads a "Name:  123 kB" line of a file under /proc, in bytes.
func procKiB(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), name+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}
