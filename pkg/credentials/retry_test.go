package credentials_test

import (
	"sync"
	"testing"
	"time"

	ststest "kube-aws-iam-controller/test/sts"
)

// After an outage a single lost call is retried as before it.
func TestAssume_RetriesAfterAnOutage(t *testing.T) {
	for _, lost := range []ststest.Fault{ststest.ConnectionReset, ststest.InternalFailure} {
		t.Run(lost.String(), func(t *testing.T) {
			srv := start(t)
			signInAsNode(t, srv)
			client := readyClient(t)

			srv.SetFault(ststest.ServiceUnavailable)
			var calls sync.WaitGroup
			for range 300 { // the SDK's own quota is for 100 retries
				ctx := impatient(t, 300*time.Millisecond) // to spare the wait before the retry, which the quota counts all the same
				calls.Go(func() {
					if _, err := client.Assume(ctx, session(t, appRole)); err == nil {
						t.Error("there is no outage")
					}
				})
			}
			calls.Wait()

			srv.SetFault(ststest.NoFault)
			srv.FaultNext(1, lost)
			assume(t, client, session(t, appRole))
		})
	}
}
