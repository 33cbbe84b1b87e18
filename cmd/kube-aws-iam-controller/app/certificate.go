package app

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"kube-aws-iam-controller/pkg/certificate"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
)

// newCertificateMonitor returns the monitor of the certificate for IAM Roles Anywhere, or nil if
// the controller has none.
func newCertificateMonitor(recorder *events.Recorder, o *Options) *certificate.Monitor {
	if _, ok := o.Credentials.Certificate(); !ok {
		return nil
	}
	read := func() credentials.Certificate {
		c, _ := o.Credentials.Certificate()
		return c
	}
	return certificate.NewMonitor(read, o.Credentials.BaseClient().Caller, o.Credentials.Clock(), recorder, o.Self, o.Log)
}

// addCertificateMonitor adds a monitor to a manager, if there is one.
func addCertificateMonitor(m manager.Manager, monitor *certificate.Monitor) error {
	if monitor == nil {
		return nil
	}
	return m.Add(monitor)
}

// certificateExpires returns when the certificate, or an intermediate one before it, expires. It
// returns zero if there is none.
func certificateExpires(o *Options) time.Time {
	c, _ := o.Credentials.Certificate()
	return c.NotAfter
}

// readiness returns the readiness checks of the controller's own identity by name.
func readiness(seed *seedParts, monitor *certificate.Monitor) map[string]healthz.Checker {
	checks := map[string]healthz.Checker{}
	if seed != nil {
		checks["seed"] = seed.Ready
	}
	if monitor != nil {
		checks["certificate"] = monitor.Ready
	}
	return checks
}
