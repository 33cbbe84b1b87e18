package controllers_test

import "testing"

func TestAPodGetsCredentials(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pod("app", role("orders"))
	s := w.wait("aws-iam-orders")
	t.Log(s)
	w.event("Normal CreateCredentials app:", "arn:aws:iam::123456789012:role/orders")
}
