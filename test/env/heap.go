package env

import "runtime"

// LiveHeap returns how many bytes of the heap are in use.
func LiveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
