// Package cpu holds the kernels of the CPU backend in C, chosen at run time by what the processor has, and the
// same in plain Go for builds without cgo. It is a Go package so that Go's build cache sees every edit of the C
// files. Addresses that it takes are of memory that Go does not move: mapped files and regions from the kernel.
package cpu
