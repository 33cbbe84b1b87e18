package keylog_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/keylog"
)

const log = `{"level":"info","ts":"2026-11-21T08:00:00.5Z","msg":"credentials issued","namespace":"payments","secret":"aws-iam-orders","role":"arn:aws:iam::123456789012:role/orders","session":"prod.payments.aws-iam-orders","accessKeyID":"ASIAFIRST0000000","expires":"2026-11-21T09:00:00Z","pods":2}
[pod/kube-aws-iam-controller-abc/kube-aws-iam-controller] {"level":"info","ts":"2026-11-21T08:15:00Z","msg":"credentials issued","namespace":"payments","secret":"aws-iam-orders","role":"arn:aws:iam::123456789012:role/orders","accessKeyID":"ASIASECOND000000","expires":"2026-11-21T09:15:00Z","pods":3}
no JSON {
{"level":"info","ts":"2026-11-21T08:16:00Z","msg":"credentials issued","namespace":"billing","secret":"aws-iam-orders","accessKeyID":"ASIATHIRD0000000","expires":"2026-11-21T09:16:00Z","pods":1}
{"level":"info","ts":"2026-11-21T08:20:00Z","msg":"secret repaired","namespace":"payments","secret":"aws-iam-orders","accessKeyID":"ASIASECOND000000"}
{"level":"info","ts":"2026-11-21T08:30:00Z","msg":"secret deleted","namespace":"payments","secret":"aws-iam-orders","accessKeyID":"ASIASECOND000000","note":"no object asks for it"}`

func TestFind(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 8, minute, 0, 0, time.UTC) }
	for _, c := range []struct {
		key, secret string
		pods        int
		replaced    time.Time
	}{
		{"ASIAFIRST0000000", "payments/aws-iam-orders", 2, at(15)},
		{"ASIASECOND000000", "payments/aws-iam-orders", 3, at(30)},
		{"ASIATHIRD0000000", "billing/aws-iam-orders", 1, time.Time{}},
	} {
		got, err := keylog.Find(strings.NewReader(log), c.key)
		if err != nil || got == nil || got.Namespace+"/"+got.Secret != c.secret || got.Pods != c.pods || !got.Replaced.Equal(c.replaced) {
			t.Errorf("%s: %+v, %v", c.key, got, err)
		}
	}
	if got, err := keylog.Find(strings.NewReader(log), "ASIAOTHER0000000"); got != nil || err != nil {
		t.Errorf("a key that is not there: %+v, %v", got, err)
	}
}

// Two replicas can log in any order.
func TestFind_OtherOrder(t *testing.T) {
	lines := strings.Split(log, "\n")
	lines[0], lines[1] = lines[1], lines[0]
	got, err := keylog.Find(strings.NewReader(strings.Join(lines, "\n")), "ASIAFIRST0000000")
	if err != nil || got == nil || got.Replaced.Minute() != 15 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFind_ReadError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := keylog.Find(iotest.ErrReader(broken), "ASIAFIRST0000000"); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
