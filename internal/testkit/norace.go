//go:build !race

package testkit

// Race reports whether the race detector is on, under which arithmetic takes ten times as long.
const Race = false
