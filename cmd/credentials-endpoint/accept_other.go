//go:build !linux

package main

import "syscall"

// deferAccept does nothing where the kernel cannot hold back a connection.
func deferAccept(_, _ string, _ syscall.RawConn) error { return nil }
