package lora

import (
	"math"
	"slices"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
)

func TestInitA(t *testing.T) {
	s := tensor.Shape{64, 400}
	a, again := initA(s, stream(1, "a")), initA(s, stream(1, "a"))
	if !slices.Equal(a, again) {
		t.Error("the same seed and name drew other values")
	}
	if slices.Equal(a, initA(s, stream(1, "b"))) || slices.Equal(a, initA(s, stream(2, "a"))) {
		t.Error("another name or seed drew the same values")
	}
	bound, sum, sq := 1/math.Sqrt(400), 0.0, 0.0
	for _, x := range a {
		v := float64(x)
		if !(math.Abs(v) <= bound) {
			t.Fatalf("%v is beyond 1/√in = %v", v, bound)
		}
		sum, sq = sum+v, sq+v*v
	}
	n := float64(len(a))
	// of U(-b,b): the mean's deviation is b/√(3n), the mean square b²/3 with deviation b²·√(4/45n)
	if !(math.Abs(sum/n) <= 5*bound/math.Sqrt(3*n)) || !(math.Abs(sq/n-bound*bound/3) <= 5*bound*bound*math.Sqrt(4/(45*n))) {
		t.Errorf("mean %v and mean square %v are not those of U(±%v)", sum/n, sq/n, bound)
	}
}

func TestTargets(t *testing.T) {
	got, err := Targets(model.Desc{}, []string{"q_proj", "down_proj"})
	if err != nil || !slices.Equal(got, []string{"down_proj", "q_proj"}) {
		t.Errorf("%v, %v", got, err)
	}
	if all, err := Targets(model.Desc{}, []string{"all-linear"}); err != nil || len(all) != 7 {
		t.Errorf("all-linear: %v, %v", all, err)
	}
	if some, err := Targets(model.Desc{}, []string{"attention", "up_proj"}); err != nil || !slices.Equal(some, []string{"k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}) {
		t.Errorf("attention: %v, %v", some, err)
	}
	for _, bad := range [][]string{{"q_porj"}, {""}, nil} {
		if _, err := Targets(model.Desc{}, bad); errs.Code(err) != 2 {
			t.Errorf("%q: %v, want exit code 2", bad, err)
		}
	}
}
