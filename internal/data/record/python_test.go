package record_test

import (
	"testing"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
)

// Numbers and texts are written as Python's json.dumps(ensure_ascii=False) writes what it read.
func TestPythonJSON(t *testing.T) {
	for in, want := range map[string]string{
		"1.0": "1.0", "1e5": "100000.0", "1E16": "1e+16", "0.0001": "0.0001", "0.00001": "1e-05", "-0": "0", "-0.0": "-0.0", "123456789012345678901234567890": "123456789012345678901234567890",
		"1.5e300": "1.5e+300", "0.1": "0.1", "9007199254740993.0": "9007199254740992.0", "[ ]": "[]", "{ }": "{}", `{"b":1,"a":2,"c":3}`: `{"b": 1, "a": 2, "c": 3}`,
		`"\u00e9\u007f\u2028\/\b\u0001"`: "\"é\x7f\u2028/\\b\\u0001\"", `[true,null,"x"]`: `[true, null, "x"]`,
	} {
		v, err := jsonfile.Value([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if got := record.PythonJSON(v, 0); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
