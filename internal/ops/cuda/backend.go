//go:build cuda

package cuda

/*
#cgo CFLAGS: -I${SRCDIR}/../../../csrc/cuda
#cgo LDFLAGS: -L${SRCDIR}/../../../build/cuda -llonglora -lcudart_static -lstdc++ -ldl -lrt -lpthread -lm
#cgo noescape ll_copy
#cgo nocallback ll_copy
#cgo noescape ll_convert
#cgo nocallback ll_convert
#cgo noescape ll_embed_fwd
#cgo nocallback ll_embed_fwd
#cgo noescape ll_embed_bwd
#cgo nocallback ll_embed_bwd
#cgo noescape ll_rms_fwd
#cgo nocallback ll_rms_fwd
#cgo noescape ll_rms_bwd
#cgo nocallback ll_rms_bwd
#cgo noescape ll_layernorm_fwd
#cgo nocallback ll_layernorm_fwd
#cgo noescape ll_layernorm_bwd
#cgo nocallback ll_layernorm_bwd
#cgo noescape ll_rope_table
#cgo nocallback ll_rope_table
#cgo noescape ll_rope
#cgo nocallback ll_rope
#cgo noescape ll_swiglu_fwd
#cgo nocallback ll_swiglu_fwd
#cgo noescape ll_swiglu_bwd
#cgo nocallback ll_swiglu_bwd
#cgo noescape ll_gelu_fwd
#cgo nocallback ll_gelu_fwd
#cgo noescape ll_gelu_bwd
#cgo nocallback ll_gelu_bwd
#cgo noescape ll_add_rows
#cgo nocallback ll_add_rows
#cgo noescape ll_scale
#cgo nocallback ll_scale
#cgo noescape ll_attn_fwd_work
#cgo nocallback ll_attn_fwd_work
#cgo noescape ll_attn_bwd_work
#cgo nocallback ll_attn_bwd_work
#cgo noescape ll_attn_fwd
#cgo nocallback ll_attn_fwd
#cgo noescape ll_attn_bwd
#cgo nocallback ll_attn_bwd
#cgo noescape ll_softmax
#cgo nocallback ll_softmax
#cgo noescape ll_argmax
#cgo nocallback ll_argmax
#cgo noescape ll_sum
#cgo nocallback ll_sum
#cgo noescape ll_adamw
#cgo nocallback ll_adamw
#cgo noescape ll_row
#cgo nocallback ll_row
#cgo noescape ll_gemm
#cgo nocallback ll_gemm
#cgo noescape ll_gemm_can
#cgo nocallback ll_gemm_can
#cgo noescape ll_nf4_widen
#cgo nocallback ll_nf4_widen
#cgo noescape ll_fp8_widen
#cgo nocallback ll_fp8_widen
#cgo noescape ll_fp8_narrow
#cgo nocallback ll_fp8_narrow
#cgo noescape ll_fp8_swiglu
#cgo nocallback ll_fp8_swiglu
#cgo noescape ll_fp8_swiglu_grad
#cgo nocallback ll_fp8_swiglu_grad
#cgo noescape ll_fp8_turn
#cgo nocallback ll_fp8_turn
#cgo noescape ll_bias_grad
#cgo nocallback ll_bias_grad
#cgo noescape ll_add
#cgo nocallback ll_add
#cgo noescape ll_drop
#cgo nocallback ll_drop
#include <stdlib.h>
#include "longlora.h"

int cuInit(unsigned flags);

// Kernels' code is loaded when it is first used: cuBLASLt alone has several hundred MB of it. The driver reads
// this at its initialization, which is package cu's, before any Go code of ours.
__attribute__((constructor)) static void ll_lazy(void) { setenv("CUDA_MODULE_LOADING", "LAZY", 0); }
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Built reports whether this binary has the CUDA backend.
const Built = true

// kernels is the checksum of the kernels' library. Nothing reads it: the build sets it so that Go links anew when the
// library changes.
var kernels = ""

// Backend implements ops.Backend on one device. Its methods make the device's primary context current on the
// thread that they run on and enqueue on one stream; like every backend it is used by one goroutine at a time.
type Backend struct {
	info    Info
	dev     cu.Device
	ctx     cu.CUContext
	stream  cu.Stream
	ll      *C.ll_device // the same device as the kernels know it
	context int64        // bytes before any arena
	blas    string       // the file that cuBLASLt came from
	err     error        // the first since the last Sync

	sends   side           // copies to host memory
	fetches side           // and from there
	brings  side           // and of weights
	ring    *ring          // pinned memory that uploads go through
	work    unsafe.Pointer // the workspace, see WorkspaceBytes
	docs    []int32        // what the workspace's room for document boundaries holds
	weights weights
	queue   queue
	eight   unsafe.Pointer // what products in FP8 have for themselves; nil: weights in FP8 are made wide
	fast    bool           // those products' sums are the tensor cores': for TestProductsFP8, see docs/numerics.md
}

var _ ops.Backend = (*Backend)(nil)

// Devices lists the GPUs that the driver gives; none, without an error, where there is no driver.
func Devices() ([]Info, error) {
	if n, err := deviceCount(); n == 0 || err != nil {
		return nil, err
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Errorf("CUDA devices: %w", err)
	}
	var out []Info
	for i := range n {
		d, err := describe(i)
		if err != nil {
			return nil, fmt.Errorf("CUDA device %d: %w", i, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// Statuses of the driver that mean that there is no GPU to be used, rather than that something is wrong.
const (
	statusNoDevice = 100
	statusStub     = 34 // no driver: csrc/cuda/driver/forward.c
)

// deviceCount is 0 without an error where there is no driver or no GPU.
func deviceCount() (int, error) {
	switch rc := C.cuInit(0); rc {
	case 0:
		return cu.NumDevices()
	case statusNoDevice, statusStub:
		return 0, nil
	default:
		return 0, fmt.Errorf("CUDA: the driver did not start (cuInit returned %d); see nvidia-smi", rc)
	}
}

// describe fills Info in for device i.
func describe(i int) (Info, error) {
	d, err := cu.GetDevice(i)
	if err != nil {
		return Info{}, err
	}
	info := Info{Index: i, Driver: cu.Version()}
	if info.Name, err = d.Name(); err != nil {
		return info, err
	}
	for _, a := range []struct {
		to   *int
		what cu.DeviceAttribute
	}{{&info.Major, cu.ComputeCapabilityMajor}, {&info.Minor, cu.ComputeCapabilityMinor},
		{&info.SMs, cu.MultiprocessorCount}} {
		if *a.to, err = d.Attribute(a.what); err != nil {
			return info, err
		}
	}
	if info.Total, err = d.TotalMem(); err != nil {
		return info, err
	}
	var id [16]byte
	if st := C.ll_uuid(C.int(i), (*C.uchar)(unsafe.Pointer(&id[0]))); st != 0 {
		return info, fmt.Errorf("asking for its name: %s", C.GoString(C.ll_status(st)))
	}
	info.UUID = fmt.Sprintf("GPU-%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	var free, total C.size_t
	if C.ll_memory_outside(C.int(i), &free, &total) == 0 { // else Free is known once the device is open
		info.Free = int64(free)
	}
	return info, nil
}

// oldest is the compute capability from which on the kernels run: bfloat16 tensor cores.
const oldest = 8

// Open takes the device's primary context.
func Open(index int) (*Backend, error) {
	n, err := deviceCount()
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errs.Usagef("%s cuda: the driver gives no GPU; use %s cpu, or look at nvidia-smi", errs.Option("device"),
			errs.Option("device"))
	case index < 0 || index >= n:
		return nil, errs.Usagef("%s cuda:%d: there are %d GPUs, the first is cuda:0", errs.Option("device"), index, n)
	}
	b := &Backend{dev: cu.Device(index)}
	if b.info, err = describe(index); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", index, err)
	}
	if b.info.Major < oldest {
		return nil, errs.Usagef("%s cuda:%d: %s has compute capability %d.%d; 8.0 or later is needed", errs.Option("device"),
			index, b.info.Name, b.info.Major, b.info.Minor)
	}
	if b.ctx, err = b.dev.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("cuda:%d: taking the primary context: %w", index, err)
	}
	if err := b.start(); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", index, join(err, b.Close()))
	}
	return b, nil
}

// start makes everything that lives as long as the backend.
func (b *Backend) start() (err error) {
	b.enter()
	defer b.leave()
	if b.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return fmt.Errorf("making a stream: %w", err)
	}
	if st := C.ll_device_open(&b.ll); st != 0 {
		return fmt.Errorf("asking for the device's attributes: %s", C.GoString(C.ll_status(st)))
	}
	for _, s := range b.sides() {
		if err = s.open(); err != nil {
			return err
		}
	}
	if b.blas, err = blas.open(func(path string) error {
		p := C.CString(path)
		defer C.free(unsafe.Pointer(p))
		var msg [512]C.char
		if C.ll_blas_open(b.ll, p, &msg[0], C.size_t(len(msg))) != 0 {
			return fmt.Errorf("%s", C.GoString(&msg[0]))
		}
		return nil
	}); err != nil {
		return err
	}
	if b.ring, err = newRing(); err != nil {
		return err
	}
	free, total, err := cu.MemInfo()
	if err != nil {
		return fmt.Errorf("asking for free memory: %w", err)
	}
	if b.info.Free == 0 { // nobody could say before: all that is in use counts as the context's
		b.info.Free = total
	}
	b.info.Total = total
	b.context = firstContext(b.info.Index, b.info.Free-free)
	if b.work, err = alloc(workspaceBytes, "the workspace"); err != nil {
		return err
	}
	return nil
}

// contexts holds what each device's context took when it was first opened: the CUDA runtime keeps it from then on.
var contexts struct {
	sync.Mutex
	bytes map[int]int64
}

func firstContext(device int, bytes int64) int64 {
	contexts.Lock()
	defer contexts.Unlock()
	if contexts.bytes == nil {
		contexts.bytes = map[int]int64{}
	}
	if _, ok := contexts.bytes[device]; !ok {
		contexts.bytes[device] = max(0, bytes)
	}
	return contexts.bytes[device]
}

// Close waits for the device and gives everything back.
func (b *Backend) Close() error {
	b.enter()
	defer b.leave()
	err := cu.Synchronize()
	C.ll_device_close(b.ll)
	if b.work != nil {
		err = join(err, cu.MemFree(pointer(b.work)))
	}
	err = join(err, b.freeEight())
	err = join(err, b.weights.free())
	if b.ring != nil {
		err = join(err, b.ring.close())
	}
	err = join(err, b.queue.close())
	for _, s := range b.sides() {
		err = join(err, s.close())
	}
	if b.stream != (cu.Stream{}) {
		err = join(err, b.stream.Destroy())
	}
	return join(err, b.dev.ReleasePrimaryCtx())
}

// join is the first of the errors.
func join(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// enter makes the context current on the thread and keeps the goroutine there until leave.
func (b *Backend) enter() {
	runtime.LockOSThread()
	b.keep("taking the context", cu.SetCurrentContext(b.ctx))
}

func (b *Backend) leave() { runtime.UnlockOSThread() }

// keep remembers the first error.
func (b *Backend) keep(what string, err error) {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %s: %w", b.Name(), what, err)
	}
}

// check turns a status of the kernels into an error that names the operation and the tensors it was given.
func (b *Backend) check(op string, status C.int, ts ...ops.Tensor) {
	if status == 0 {
		bytes := 0.0
		for _, t := range ts {
			if !t.None() {
				bytes += float64(t.Bytes())
			}
		}
		b.spent(0, bytes)
	}
	if status == 0 || b.err != nil {
		return
	}
	var s strings.Builder
	for _, t := range ts {
		if !t.None() {
			fmt.Fprintf(&s, " %v %s", t.Shape, t.DType)
		}
	}
	text := ""
	if status >= C.LL_BLAS {
		text = fmt.Sprintf("cuBLASLt returned %d", status-C.LL_BLAS)
	} else {
		text = C.GoString(C.ll_status(status))
	}
	b.err = fmt.Errorf("%s: %s of%s: %s", b.Name(), op, s.String(), text)
}

func f32(t ops.Tensor) *C.float   { return (*C.float)(t.P) }
func i32(t ops.Tensor) *C.int32_t { return (*C.int32_t)(t.P) }
func yes(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
func dim(t ops.Tensor, i int) C.int64_t { return C.int64_t(t.Dim(i)) }

// s is the stream of operations as the kernels take it.
func (b *Backend) s() C.ll_stream { return streamOf(b.stream) }

func streamOf(s cu.Stream) C.ll_stream { return C.ll_stream(unsafe.Pointer(s.C())) }

// Name implements ops.Backend.
func (b *Backend) Name() string { return fmt.Sprintf("cuda:%d", b.info.Index) }

// Act implements ops.Backend.
func (b *Backend) Act() tensor.DType { return tensor.BF16 }

// Info describes the device.
func (b *Backend) Info() Info { return b.info }

// BLAS is the file that cuBLASLt was loaded from, and its version: 130100 is 13.1.0.
func (b *Backend) BLAS() (file string, version int) { return b.blas, int(C.ll_blas_version(b.ll)) }

// ContextBytes is the device memory that the context, the kernels' code and the libraries took before any
// arena, measured at Open.
func (b *Backend) ContextBytes() int64 { return b.context }

// Used is the device memory in use now, in bytes, as the driver counts it.
func (b *Backend) Used() (int64, error) {
	b.enter()
	defer b.leave()
	free, total, err := cu.MemInfo()
	if err != nil {
		return 0, fmt.Errorf("%s: asking for free memory: %w", b.Name(), err)
	}
	return total - free, nil
}

// Sync implements ops.Backend.
func (b *Backend) Sync() error {
	b.enter()
	defer b.leave()
	b.keep("waiting for the device", b.settle())
	err := b.err
	b.err = nil
	return err
}
