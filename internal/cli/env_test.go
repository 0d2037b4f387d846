package cli_test

import (
	"reflect"
	"strings"
	"testing"
)

// An empty variable, as a script leaves one of which nothing is set, is as if it were not set, and a note says so.
func TestEmptyVariables(t *testing.T) {
	const file = least + "full-last: 0.5\nlr: 1e-3\n"
	want, _, err := load(t, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"FULL_LAST", "LR", "STEPS", "MODEL", "TARGETS", "JSON", "CONFIG"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LONGLORA_"+name, "")
			got, v, err := load(t, file)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v; without the variable %+v", got, err, want)
			}
			note := "LONGLORA_" + name + " is empty and has no effect, as if it were not set"
			if notes := strings.Join(v.Notes(), "\n"); !strings.Contains(notes, note) {
				t.Errorf("%q, not %q", notes, note)
			}
		})
	}
}
