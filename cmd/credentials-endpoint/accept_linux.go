package main

import "syscall"

// deferAccept makes the kernel hold back a connection until its client has sent something, for
// about a second (TCP_DEFER_ACCEPT in tcp(7)). So the request is there when the connection is
// accepted, also if the client needs a moment to send it, and others cannot evict it before.
func deferAccept(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		// Without it, such as in a sandbox, everything works, with less protection.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 1)
	})
}
