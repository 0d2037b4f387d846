// Package csrc is C's copy of the segment function, which the CUDA kernels compute with; a test holds it equal to
// package s2attn. The kernels themselves are in cpu and cuda.
package csrc
