package doctor

import (
	"fmt"
	"io"
	"strings"

	"longlora/internal/ui"
)

// most is how many failures are printed; --json has all.
const most = 20

// Print writes the report as a table of two columns, then what to do.
func (r *Report) Print(w io.Writer) {
	row := func(name, format string, a ...any) { ui.Fact(w, name, format, a...) }
	yes := map[bool]string{true: "yes", false: "no"}
	row("program", "longlora %s, %s, %s; cgo: %s; CUDA: %s", r.Build.Version, r.Build.Go, r.Build.Platform,
		yes[r.Build.Cgo], yes[r.Build.CUDA])
	cores := ""
	if r.CPU.Cores > 0 {
		cores = fmt.Sprintf(" (%d cores)", r.CPU.Cores)
	}
	row("cpu", "%s, %d processors%s, %d threads used", r.CPU.Model, r.CPU.Logical, cores, r.CPU.Threads)
	row("", "has %s; kernels: %s", strings.Join(r.CPU.Sets, " "), r.CPU.Kernels)
	limit := ""
	if r.Memory.Limit > 0 {
		limit = "; the control group allows " + ui.Bytes(r.Memory.Limit)
	}
	row("memory", "%s of %s available%s", ui.Bytes(r.Memory.Available), ui.Bytes(r.Memory.Total), limit)
	row("driver", "%s", r.Driver.text())
	for _, g := range r.GPUs {
		row(g.Device, "%s, compute %d.%d, %d multiprocessors, %s of %s free", g.Name, g.Major, g.Minor, g.SMs,
			ui.Bytes(g.Free), ui.Bytes(g.Total))
		switch {
		case g.Error != "":
			row("", "%s", g.Error)
		case g.BLAS != "":
			row("", "cuBLASLt %d from %s", g.BLASV, g.BLAS)
		}
	}
	for i, p := range r.CuBLASLt {
		name := ""
		if i == 0 {
			name = "cuBLASLt"
		}
		row(name, "%s: %s", p.Where, p.text())
	}
	r.NCCL.print(row)
	for _, d := range r.Disks {
		rate := ""
		switch {
		case d.Error != "":
			rate = ": " + d.Error
		case d.Write > 0:
			rate = fmt.Sprintf(", writes %.0f and reads %.0f MB/s", d.Write/1e6, d.Read/1e6)
		}
		row("disk", "%s %s: %s of %s free%s", d.Of, d.Path, ui.Bytes(d.Free), ui.Bytes(d.Total), rate)
	}
	models := "not there"
	if r.Hub.Here {
		models = fmt.Sprintf("%d models", r.Hub.Models)
	}
	row("hub cache", "%s: %s", r.Hub.Path, models)
	for _, t := range r.SelfTest {
		row("self-test", "%s (%s): %d outputs judged, %d wrong, the worst at %.2f of its limit, %s", t.Device, t.Kernels,
			t.Outputs, len(t.Failures), t.Worst, ui.Duration(t.Seconds))
		for i, f := range t.Failures {
			if i == most {
				row("", "… and %d more", len(t.Failures)-most)
				break
			}
			row("", "%s", f)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w)
		ui.Say(w, "%s", n.Lack)
		fmt.Fprintf(w, "  %s\n", n.Mend) // in one line, to be copied
	}
	if len(r.Notes) == 0 {
		fmt.Fprintln(w, "\nNothing is missing.")
	}
}

func (d Driver) text() string {
	if !d.Here {
		return fmt.Sprintf("none; %d NVIDIA cards", d.Cards)
	}
	s := "NVIDIA " + d.Version
	if d.Version == "" {
		s += "(version not said)"
	}
	if d.CUDA > 0 {
		s += fmt.Sprintf(", for CUDA up to %d.%d", d.CUDA/1000, d.CUDA%1000/10)
	}
	return s
}
