package plan

import (
	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/machine"
)

// LimitsOf are the memory limits that the options give; used is what the process holds already, which counts.
func LimitsOf(c *config.Common, m machine.Machine, used int64) (lim Limits, err error) {
	if c.DeviceMem != "" && !m.OnHost {
		if lim.Device, err = config.ParseBytes("device-mem", c.DeviceMem); err != nil {
			return lim, err
		}
	}
	lim.Device = m.DeviceLimit(lim.Device)
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
	free, err := machine.HostAvailable()
	if err != nil {
		return 0, errs.Usagef("--host-mem: the system does not say what memory is available (%v); give a size", err)
	}
	return free / 5 * 4, nil
}
