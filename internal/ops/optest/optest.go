// Package optest judges a backend: every operation of package ops against its formula in float64, forward and
// backward, on whatever hardware the backend runs. It needs nothing of package testing, so that a user's machine
// can be asked as well as a test.
//
// A case lays all its tensors out in one region of the backend's memory with guards of 0xFF bytes (NaN in every
// float type) round each, runs the operation twice from the same image and demands: outputs near the formula,
// inputs and guards untouched, the same bits both times. Outputs start as NaN.
//
// # Limits
//
// An error is ‖a-b‖/‖b‖ against float64 over a whole output. A float32 backend may be off by the rounding of its
// sums, which each case states. A bfloat16 backend may besides be off by twice what the same operation has when it
// is done plainly: inputs as stored, sums exact, everything that would be a bfloat16 tensor rounded once. That
// yardstick is computed by the same formula with a rounding put in, never written down.
//
// # A new operation
//
// It is defined in package ops (a method of an interface of Backend, with formula, shapes and source), counted in
// ops.Counter, and implemented in ops/cpu, in ops/cuda and, rounded, in Plain. Its judge is a function here, in the
// file of its name, listed in suites: for each case k.start names it, k.normal, k.out and k.sum lay its tensors out,
// and k.judge takes the call and the formula, which is given the rounding r for what a bfloat16 backend stores. Its
// speed is a function in perf.go, listed in loads: calls at the sizes of a layer, with the bytes or the operations of
// each. A test holds suites and loads to the same names.
//
// # Speed
//
// The same benchmark times every operation on both backends, as GB/s or GFLOP/s and as a share of what a copy or a
// product gets there:
//
//	go test ./internal/ops/cpu -run '^$' -bench Ops
//	build/cuda/test/cuda.test -test.run '^$' -test.bench Ops/attention    # after make cuda-check, on a machine with a
//
// # GPU
//
// scripts/bench-compare.sh compares two commits.
package optest

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// Result is the verdict on one output of one case.
type Result struct {
	Op, Case, Output string
	Error, Limit     float64
	Fault            string // what went wrong besides: a guard, an input, other bits the second time, a panic
}

// OK reports whether the output is as it must be.
func (r Result) OK() bool { return r.Fault == "" && r.Error <= r.Limit }

func (r Result) String() string {
	s := fmt.Sprintf("%s %s", r.Op, r.Case)
	if r.Output != "" {
		s += fmt.Sprintf(": %s is off by %.3g, at most %.3g", r.Output, r.Error, r.Limit)
	}
	if r.Fault != "" {
		s += ": " + r.Fault
	}
	return s
}

// Ops are the names that Run's filter chooses from.
func Ops() []string {
	var names []string
	for _, s := range suites {
		names = append(names, s.op)
	}
	return names
}

var suites = []struct {
	op  string
	run func(k *kit)
}{
	{"transfer", transfers}, {"convert", converts}, {"embed", embeds}, {"rmsnorm", rmsnorms}, {"layernorm", layernorms},
	{"rope", ropes}, {"swiglu", swiglus}, {"gelu", gelus}, {"scale", scales},
	{"linear", linears}, {"attention", attentions}, {"headloss", headLosses}, {"argmax", argmaxes}, {"sums", sums},
	{"adamw", adamws},
}

// Run judges the operations whose name contains the filter; an empty one is all. done, where it is not nil, sees
// each result as it comes.
func Run(b ops.Backend, filter string, done func(Result)) []Result {
	var all []Result
	for _, s := range suites {
		if !strings.Contains(s.op, filter) {
			continue
		}
		k := &kit{b: b, act: b.Act(), op: s.op, done: done}
		k.safely(func() { s.run(k) })
		if len(k.results) == 0 {
			k.fault("nothing was judged")
		}
		all = append(all, k.results...)
	}
	if len(all) == 0 {
		all = append(all, Result{Op: filter, Fault: "no operation has this in its name"})
	}
	return all
}

// kit builds and runs the cases of one operation.
type kit struct {
	b       ops.Backend
	act     tensor.DType
	r       *rand.Rand
	op      string
	name    string
	args    []*arg
	space   ops.Space // in which the case's tensors lie
	results []Result
	done    func(Result)
}

// role is what an operation may do with a tensor.
type role uint8

const (
	in      role = iota // read
	out                 // written, NaN before
	inout               // read and written
	scratch             // anything
)

// arg is one tensor of a case.
type arg struct {
	ops.Tensor            // placed when the case runs
	codes      ops.Weight // in the tensor's place where it is a weight of codes
	role       role
	name       string
	v          []float64 // before, as stored
	raw        []byte    // before, where v does not say it
	off        int       // place in the image, in bytes
}

// weight is the tensor as operations take a matrix of weights.
func (a *arg) weight() ops.Weight {
	if !a.codes.None() {
		return a.codes
	}
	return ops.WeightOf(a.Tensor)
}

// start begins a case; random numbers depend on the operation and the name alone.
func (k *kit) start(format string, a ...any) {
	k.name, k.args, k.space = fmt.Sprintf(format, a...), nil, ops.Device
	h := fnv.New64a()
	_, _ = h.Write([]byte(k.op + k.name))
	k.r = rand.New(rand.NewPCG(h.Sum64(), 1))
}

func (k *kit) add(r role, name string, d tensor.DType, v []float64, shape []int) *arg {
	a := &arg{Tensor: ops.Tensor{DType: d, Shape: shape}, role: r, name: name, v: v}
	for i := range v {
		v[i] = stored(d, v[i])
	}
	k.args = append(k.args, a)
	return a
}

// given is an input with these values, which are rounded to the type in place.
func (k *kit) given(name string, d tensor.DType, v []float64, shape ...int) *arg {
	return k.add(in, name, d, v, shape)
}

// normal is an input of normal numbers.
func (k *kit) normal(name string, d tensor.DType, shape ...int) *arg {
	return k.add(in, name, d, k.gauss(tensor.Shape(shape).Elems()), shape)
}

// sum is an output that is added to.
func (k *kit) sum(name string, d tensor.DType, shape ...int) *arg {
	return k.add(inout, name, d, k.gauss(tensor.Shape(shape).Elems()), shape)
}

// out is an output that is written.
func (k *kit) out(name string, d tensor.DType, shape ...int) *arg {
	return k.add(out, name, d, nil, shape)
}

// scratch is memory for the operation's own use.
func (k *kit) scratch(name string, d tensor.DType, shape ...int) *arg {
	return k.add(scratch, name, d, nil, shape)
}

// weight is a frozen tensor of a file's type as the backend holds it.
func (k *kit) weight(d tensor.DType, shape ...int) *arg {
	v := k.gauss(tensor.Shape(shape).Elems())
	w, err := k.b.Weight(tensor.Stored{Format: tensor.Dense(d), Shape: shape, Data: encode(d, v)})
	if err != nil {
		panic(err)
	}
	t := w.Dense()
	for i := range v {
		v[i] = stored(t.DType, stored(d, v[i]))
	}
	return &arg{Tensor: t, name: "w", v: v}
}

// nf4 is a frozen matrix of random codes and factors, of every second shape nested ones.
func (k *kit) nf4(d tensor.DType, shape ...int) *arg {
	s := tensor.Stored{Format: tensor.Format{Type: d, Code: tensor.NF4, Block: 64}, Shape: shape}
	if shape[0]%2 == 0 {
		s.Format.Nested = 4
	}
	p, _ := s.Format.Parts(s.Shape)
	bytes := func(n int64) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(k.r.Uint32())
		}
		return b
	}
	s.Data, s.Scales = bytes(p.Data), tensor.Scales{Map: encode(tensor.F32, k.gauss(16)), Absmax: encode(tensor.F32,
		k.gauss(int(p.Absmax/4)))}
	if s.Format.Nested > 0 {
		s.Scales = tensor.Scales{Map: s.Scales.Map, Absmax: bytes(p.Absmax), NestedMap: encode(tensor.F32, k.gauss(256)),
			NestedAbsmax: encode(tensor.F32, k.gauss(int(p.NestedAbsmax/4))), Offset: float32(k.r.NormFloat64())}
	}
	values := make([]float32, s.Shape.Elems())
	quant.Decode(values, s, 0)
	a := k.coded(s)
	for i, x := range values {
		a.v[i] = stored(k.act, float64(x)) // as it comes into a product
	}
	return a
}

// fp8 is a frozen matrix of random e4m3fn floats and factors.
func (k *kit) fp8(shape ...int) *arg {
	s := tensor.Stored{Format: tensor.Format{Type: tensor.F32, Code: tensor.FP8}, Shape: shape}
	p, _ := s.Format.Parts(s.Shape)
	s.Data, s.Scales.Absmax = make([]byte, p.Data), encode(tensor.F32, k.gauss(shape[0]))
	factors := decode(tensor.F32, s.Scales.Absmax)
	for i := range s.Data {
		for s.Data[i] = 0x7f; s.Data[i]&0x7f == 0x7f; { // which is NaN
			s.Data[i] = byte(k.r.Uint32())
		}
	}
	a := k.coded(s)
	for i, c := range s.Data {
		a.v[i] = stored(k.act, stored(tensor.F32, float8(c)*factors[i/shape[1]])) // as it comes into a product
	}
	return a
}

// coded is a frozen matrix of codes, whose values are to be filled in.
func (k *kit) coded(s tensor.Stored) *arg {
	w, err := k.b.Weight(s)
	if err != nil {
		panic(err)
	}
	return &arg{codes: w, name: "w", v: make([]float64, s.Shape.Elems())}
}

func (k *kit) gauss(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = k.r.NormFloat64()
	}
	return v
}

// round is what a formula does to whatever would be a tensor of the activation type.
type round func(float64) float64

func exact(x float64) float64 { return x }

// near is the rounding allowed to float32 sums: as given on a float32 backend; tensor cores cut their sums off
// instead of rounding them and add in blocks, for which 1e-5 leaves room.
func (k *kit) near(f32 float64) float64 {
	if k.act == tensor.F32 {
		return f32
	}
	return max(f32, 1e-5)
}

// judge runs the case and holds outputs against formula, which gives their values in the same order.
func (k *kit) judge(tol float64, call func(), formula func(r round) [][]float64, outputs ...*arg) {
	k.safely(func() {
		after := k.run(call)
		if after == nil {
			return
		}
		want, plain := formula(exact), [][]float64(nil)
		if k.act != tensor.F32 {
			plain = formula(func(x float64) float64 { return stored(k.act, x) })
		}
		for i, o := range outputs {
			got := decode(o.DType, after[o.off:o.off+int(o.Bytes())])
			r := Result{Output: o.name, Error: off(got, want[i]), Limit: tol}
			if plain != nil {
				r.Limit += 2 * off(plain[i], want[i])
			}
			k.report(r)
		}
	})
}

// check runs the case and reports what f finds wrong with the tensors after it, "" for nothing.
func (k *kit) check(call func(), f func(after func(*arg) []byte) string) {
	k.safely(func() {
		if image := k.run(call); image != nil {
			k.report(Result{Fault: f(func(a *arg) []byte { return image[a.off : a.off+int(a.Bytes())] })})
		}
	})
}

// safely turns a panic into a result, so that the other cases are still judged.
func (k *kit) safely(f func()) {
	defer func() {
		if p := recover(); p != nil {
			k.fault("panic: %v", p)
		}
	}()
	f()
}

func (k *kit) fault(format string, a ...any) { k.report(Result{Fault: fmt.Sprintf(format, a...)}) }

func (k *kit) report(r Result) {
	r.Op, r.Case = k.op, k.name
	k.results = append(k.results, r)
	if k.done != nil {
		k.done(r)
	}
}

// guard is how many bytes at least lie between two tensors.
const guard = 1024

// run places the tensors, runs the call twice and returns the image after; nil when it failed.
func (k *kit) run(call func()) []byte {
	end := guard
	for _, a := range k.args {
		if k.r.IntN(2) == 0 && len(a.Shape) > 1 { // as a view that begins with the second row
			end += a.Shape[1:].Elems() * a.DType.Size()
		}
		a.off = end
		end = (end + int(a.Bytes()) + guard + ops.Align - 1) / ops.Align * ops.Align
	}
	before := bytes.Repeat([]byte{0xff}, end)
	for _, a := range k.args {
		if a.v != nil {
			a.raw = encode(a.DType, a.v)
		}
		copy(before[a.off:], a.raw)
	}
	region, err := k.b.Reserve(k.space, int64(end), "optest")
	if err != nil {
		k.fault("%v", err)
		return nil
	}
	defer k.b.Free(k.space, region, int64(end))
	for _, a := range k.args {
		a.P, a.Where = unsafe.Add(region, a.off), k.space
	}
	image := ops.Tensor{P: region, DType: tensor.I32, Shape: tensor.Shape{end / 4}}
	var after [2][]byte
	for i := range after {
		after[i] = make([]byte, end)
		if k.space == ops.Host { // which the CPU can address
			copy(image.Raw(), before)
		} else {
			k.b.Upload(image, before)
		}
		call()
		err := k.b.Sync()
		if k.space == ops.Host {
			copy(after[i], image.Raw())
		} else if err == nil {
			err = k.b.Download(after[i], image)
		}
		if err != nil {
			k.fault("%v", err)
			return nil
		}
	}
	k.compare(before, after[0], after[1])
	return after[0]
}

// compare finds changed guards and inputs, and outputs of other bits.
func (k *kit) compare(before, first, second []byte) {
	end := 0
	same := func(what string, a, b []byte, lo, hi int) {
		for i := lo; i < hi; i++ {
			if a[i] != b[i] {
				k.fault("%s, byte %d of %d", what, i-lo, hi-lo)
				return
			}
		}
	}
	for _, a := range k.args {
		hi := a.off + int(a.Bytes())
		same("wrote before "+a.name, before, first, end, a.off)
		switch a.role {
		case in:
			same("changed its input "+a.name, before, first, a.off, hi)
		case out, inout:
			same("other bits of "+a.name+" the second time", first, second, a.off, hi)
		}
		end = hi
	}
	same("wrote behind the last tensor", before, first, end, len(before))
}

// off is ‖a-b‖/‖b‖; NaN when anything in a is and b is not.
func off(a, b []float64) float64 {
	d, n := 0.0, 0.0
	for i := range b {
		d += (a[i] - b[i]) * (a[i] - b[i])
		n += b[i] * b[i]
	}
	if d == 0 {
		return 0
	}
	return math.Sqrt(d / max(n, 1e-30))
}
