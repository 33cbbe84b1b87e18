package simulation

import "time"

// coroutine is a function that runs in turns with its caller: one of the two waits while the other
// runs. It does what iter.Pull does, by a goroutine and two channels: the race detector of Go 1.26
// keeps some 100 KiB of each iter.Pull that has ended, which is 5 GiB for ten seeds.
type coroutine struct {
	// turn starts or continues the function; its value is what yield returns.
	turn chan bool
	// pauses receives the argument of each yield, and is closed when the function has returned.
	pauses chan time.Duration
}

// newCoroutine returns a coroutine that runs do from the first call of next on.
func newCoroutine(do func()) *coroutine {
	c := &coroutine{turn: make(chan bool), pauses: make(chan time.Duration)}
	go func() {
		defer close(c.pauses)
		if <-c.turn {
			do()
		}
	}()
	return c
}

// yield gives the turn back to the caller of next. It returns false if stop is called.
func (c *coroutine) yield(d time.Duration) bool {
	c.pauses <- d
	return <-c.turn
}

// next runs the function until it yields or returns. It reports whether it yielded, and with what.
func (c *coroutine) next() (time.Duration, bool) {
	c.turn <- true
	d, ok := <-c.pauses
	return d, ok
}

// stop makes the yield that the function waits in return false, and waits until the function has
// returned. It must not yield again.
func (c *coroutine) stop() {
	c.turn <- false
	<-c.pauses
}
