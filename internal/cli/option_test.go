package cli_test

import (
	"strings"
	"testing"

	"longlora/internal/errs"
)

// A path in the home folder that no shell has read is refused with the path that is meant.
func TestHomeFolder(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for _, c := range []struct{ file, arg, want string }{
		{least, "--out=~/run", "--out ~/run: no shell has put the home folder in the place of ~ here; give /home/me/run (a folder"},
		{least + "adapter: ~/a\n", "--rank=8", "longlora.yaml: adapter: ~/a: no shell has put the home folder in the place of ~ " +
			"here; give /home/me/a"},
		{least + "eval-data: [x, ~/a]\n", "--rank=8", "longlora.yaml: eval-data: ~/a: no shell"},
		{least, "--model=~", "--model ~: no shell has put the home folder in the place of ~ here; give /home/me (a folder"},
		{least, "--config=~/c.yaml", "--config ~/c.yaml: no shell has put the home folder in the place of ~ here"},
		{least, "--out=~run", ""},
		{least, "--out=./~/run", ""},
		{least, "--notify=~/bin/tell", ""}, // which a shell reads
	} {
		_, _, err := load(t, c.file, c.arg)
		if c.want == "" && err != nil || c.want != "" && (errs.Code(err) != 2 || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %q: %v; want %q", c.arg, c.file, err, c.want)
		}
	}
}
