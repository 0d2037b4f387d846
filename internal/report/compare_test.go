package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
)

// writeRun makes a run's folder: three steps whose losses and validations end at last, and what its run.json says.
func writeRun(t *testing.T, dir string, last float64, tokens int, record string) {
	t.Helper()
	var b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&b, `{"step":%d,"loss":%g,"tokens":%d,"tok_per_s":50,"step_s":2,"host_peak_bytes":1048576,"eval_loss":%g}`+"\n",
			i+1, last+float64(2-i), tokens, last+0.1+float64(2-i)/10)
	}
	testkit.Write(t, filepath.Join(dir, rundir.MetricsFile), b.String())
	if record != "" {
		testkit.Write(t, filepath.Join(dir, rundir.RecordFile), record)
	}
}

func recordOf(options, data string) string {
	return `{"longlora":"training run 2","steps":3,"options":{"ctx":"512","batch":"1",` + options + `},"plan":{"tile":8},` +
		`"eval_data":[{"name":"e","size":1,"sha256":"` + data + `"}],"positions":{"rope":{"rope_type":"linear"}}}`
}

// The runs' curves stand in one chart, in styles of their own; options that differ in a table; and the lowest
// validation is named only where validations are of the same thing.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name, "run") }
	writeRun(t, at("slow"), 2.5, 100, recordOf(`"lr":"1e-05","rank":"8"`, "aa"))
	writeRun(t, at("fast"), 2.25, 100, recordOf(`"lr":"0.001","rank":"8"`, "aa"))
	writeRun(t, at("other"), 1.5, 400, recordOf(`"lr":"0.001","rank":"8"`, "bb"))
	writeRun(t, at("bare"), 1.5, 400, "")
	page := func(names ...string) string {
		t.Helper()
		var paths []string
		for _, n := range names {
			paths = append(paths, at(n))
		}
		paths[len(paths)-1] = filepath.Join(paths[len(paths)-1], rundir.MetricsFile)
		p, err := Compare(paths, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return written(t, p)
	}
	two := page("slow", "fast")
	wants(t, two, "<h1>slow and fast</h1>", "fast has the lowest validation loss: 2.3500",
		"At the last validation of each: slow 2.6000 at step 3, fast 2.3500 at step 3", `<th scope="row">lr</th><td>1e-05</td><td>0.001</td>`, "MiB, peak so far",
		`class="l s1"`, `class="l s2"`, "slow: Validation loss fell from 2.8000 (step 1) to 2.6000 (step 3).")
	for _, not := range []string{`<th scope="row">rank</th>`, "by tokens", `class="l s3"`} {
		if strings.Contains(two, not) {
			t.Errorf("the page has %q", not)
		}
	}
	wants(t, page("slow", "fast", "other"), "3 runs side by side", "do not compare: they are of different data",
		"Training loss by tokens", `class="l s3"`)
	wants(t, page("slow", "bare"), "of bare it is not known on what it was validated", `<th scope="row">lr</th><td>1e-05</td><td>–</td>`)
}

func TestCompareRefuses(t *testing.T) {
	dir := t.TempDir()
	run, empty, none := filepath.Join(dir, "run"), filepath.Join(dir, "empty"), filepath.Join(dir, "none")
	writeRun(t, run, 1, 1, "")
	extended := filepath.Join(dir, "extended")
	writeRun(t, filepath.Join(extended, rundir.AdapterDir), 1, 1, "")
	testkit.Write(t, filepath.Join(empty, "x"), "")
	testkit.Write(t, filepath.Join(none, rundir.MetricsFile), "")
	for _, c := range []struct {
		paths []string
		code  int
		says  string
	}{
		{[]string{run, dir + "/./run"}, 2, "are one run"},
		{[]string{run, filepath.Join(run, rundir.MetricsFile)}, 2, "are one run"},
		{[]string{filepath.Join(extended, rundir.AdapterDir), extended}, 2, "are one run"},
		{[]string{run, run, run, run, run, run, run}, 2, "7 runs"},
		{[]string{run, empty}, 4, "is no training run"},
		{[]string{run, none}, 4, "no step of training"},
		{[]string{run, filepath.Join(empty, "x")}, 4, "is a file"},
		{[]string{run, filepath.Join(dir, "gone")}, 4, "gone"},
	} {
		if _, err := Compare(c.paths, io.Discard); errs.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.paths, err)
		}
	}
}

func TestNamesOf(t *testing.T) {
	for _, c := range []struct{ paths, want string }{
		{"out/a/adapter out/b/adapter", "a b"}, {"a b", "a b"}, {"x/run1 x/run2/", "run1 run2"}, {"x/a/metrics.jsonl x/b", "a b"},
		{"/x/a /y/a", "x y"}, {"run run/sub", "run run/sub"},
	} {
		got, err := namesOf(strings.Fields(c.paths))
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v", c.paths, got, err)
		}
	}
}
