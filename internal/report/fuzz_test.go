package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/rundir"
)

// Whatever a folder's files hold: they are refused by name, or a page comes of them that has no script, refers to
// nothing outside and whose drawings are whole.
func FuzzDir(f *testing.F) {
	f.Add(`{"model":"m","ctx":512,"lengths":[{"ctx":256,"base":{"ppl":9.5,"passkey":0.5,"cells":[{"depth":0,"trials":2,"correct":1}]},"trained":{"ppl":7}}],"train":{"steps":2}}`, "", "", "")
	f.Add("", `{"results":[{"task":"ppl","model":"</script>","ctx":256,"windows":3,"loss":2,"ppl":7.4},{"task":"passkey","model":"a","ctx":512,"trials":4,"accuracy":0.5}]}`, "", "")
	f.Add("", "", "{\"step\":1,\"loss\":2.5,\"lr\":0.1,\"eval_loss\":2}\n{\"step\":9,\"loss\":1e300,\"host_peak_bytes\":-1}\n", `{"longlora":"training run 2","plan":{"tile":8},"options":{"rank":"8"},"positions":{"type":"linear","factor":4}}`)
	f.Add("", "", "{\"step\":1,\"loss\":-0,\"grad_norm\":5e-324,\"step_s\":1e-300}\n{\"step\":9223372036854775807,\"loss\":1.7976931348623157e308}\n", "{}")
	refers := regexp.MustCompile(`(?i)<script|<iframe|<link|<img|\s(src|href)\s*=`)
	drawing := regexp.MustCompile(`(?s)<svg .*?</svg>`)
	dir, other := f.TempDir(), f.TempDir()
	line := `{"step":1,"loss":2.5,"lr":0.1,"eval_loss":2,"tokens":7}`
	if err := os.WriteFile(filepath.Join(other, rundir.MetricsFile), []byte(line), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, extended, results, metrics, run string) {
		if len(extended)+len(results)+len(metrics)+len(run) > 1<<12 {
			return
		}
		for name, s := range map[string]string{rundir.ReportFile: extended, rundir.ResultsFile: results, rundir.MetricsFile: metrics, rundir.RecordFile: run} {
			path := filepath.Join(dir, name)
			err := os.WriteFile(path, []byte(s), 0o644)
			if s == "" {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		pages := []func() (*Page, error){func() (*Page, error) { return Dir(dir, io.Discard) },
			func() (*Page, error) { return Compare([]string{dir, other}, io.Discard) }}
		for _, make := range pages {
			p, err := make()
			if err != nil {
				if errs.Code(err) != 4 || len(err.Error()) > 1<<13 {
					t.Fatalf("exit code %d: %.300v", errs.Code(err), err)
				}
				continue
			}
			page := filepath.Join(dir, "page.html")
			if err := p.Write(page); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > 1<<21 {
				t.Fatalf("a page of %d bytes", len(b))
			}
			if at := refers.Find(b); at != nil {
				t.Fatalf("the page holds %q", at)
			}
			for _, s := range drawing.FindAll(b, -1) {
				if err := xml.Unmarshal(s, new(struct{})); err != nil {
					t.Fatalf("%v in %.500s", err, s)
				}
				if regexp.MustCompile(`NaN|Inf`).Match(s) {
					t.Fatalf("a place that is no number in %.500s", s)
				}
			}
		}
	})
}
