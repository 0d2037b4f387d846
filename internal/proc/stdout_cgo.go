//go:build cgo

package proc

/*
#include <fcntl.h>

// Looked at before the Go runtime begins, which opens /dev/null in the place of a closed standard stream.
static int closed;
__attribute__((constructor)) static void look(void) { closed = fcntl(1, F_GETFD) < 0; }
static int was_closed(void) { return closed; }
*/
import "C"

func stdoutClosed() bool { return C.was_closed() != 0 }
