package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// HostAvailable is the memory that this process may still take, in bytes: what the kernel says is available, or
// what the control group leaves where that is less.
func HostAvailable() (int64, error) {
	n, err := procKiB("/proc/meminfo", "MemAvailable")
	if err != nil {
		return 0, err
	}
	if _, free, ok := cgroupMemory(); ok {
		n = min(n, free)
	}
	return n, nil
}

// RssAnon is the anonymous memory of this process that is resident, in bytes; mapped files are not in it.
func RssAnon() (int64, error) { return procKiB("/proc/self/status", "RssAnon") }

// procKiB reads a "Name:  123 kB" line of a file under /proc, in bytes.
func procKiB(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := kiB(b, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", path, name, err)
	}
	return n, nil
}

// kiB is procKiB of a file's text.
func kiB(b []byte, name string) (int64, error) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), name+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53) // as bytes it is below 2^63
		if err != nil {
			return 0, err
		}
		return int64(n) << 10, nil
	}
	return 0, errors.New("there is no such line")
}
