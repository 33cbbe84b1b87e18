package simulation

import (
	"context"
	"fmt"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/role"
)

const (
	account = "123456789012"
	// ownRole is the controller's role.
	ownRole = "controller"
)

// sts is AWS STS.
type sts struct {
	sim  *simulator
	base role.Base
	// issued has all sessions, including expired ones, by access key ID.
	issued map[string]session
	// distrusts are the roles that do not trust the controller.
	distrusts map[string]bool
}

// session is one session of a role.
type session struct {
	role, name string
	issued     time.Duration
	expires    time.Time
}

func newSTS(sim *simulator) *sts {
	base, err := role.ParseBase("arn:aws:iam::" + account + ":role/")
	if err != nil {
		panic(err)
	}
	return &sts{sim: sim, base: base, issued: map[string]session{}, distrusts: map[string]bool{}}
}

// arn returns the ARN of a role.
func (s *sts) arn(name string) string { return s.base.String() + name }

// callerIdentity returns the response to GetCallerIdentity.
func (s *sts) callerIdentity() credentials.Caller {
	if s.sim.cfg.isUser {
		return credentials.Caller{ARN: "arn:aws:iam::" + account + ":user/controller-user", Base: s.base}
	}
	return credentials.Caller{ARN: "arn:aws:sts::" + account + ":assumed-role/" + ownRole + "/i-0123456789", Base: s.base}
}

// caller simulates the method Caller of credentials.Client: it asks STS until it has a response.
func (inst *instance) caller(context.Context) (credentials.Caller, error) {
	sim := inst.sim
	if !inst.known {
		if err := inst.callSTS("GetCallerIdentity", ""); err != nil {
			return credentials.Caller{}, err
		}
		inst.known = true
	}
	if sim.faults.active(faultIdentityLost) {
		return credentials.Caller{}, stsError(credentials.Expired, "ExpiredToken")
	}
	return sim.sts.callerIdentity(), nil
}

// callSTS simulates what is common to all requests to STS.
func (inst *instance) callSTS(operation, arn string) error {
	sim := inst.sim
	what := operation + " " + arn
	if !sim.wait(sim.faults.stsLatency(what)) {
		return context.Canceled
	}
	if sim.faults.active(faultSTSDown) {
		return stsError(credentials.Unavailable, "NoAnswer")
	}
	inst.host.observeSTS()
	return sim.faults.sts(what)
}

// checkClock simulates the method CheckClock of credentials.Client.
func (inst *instance) checkClock() {
	if !inst.host.trusted() && !inst.sim.faults.active(faultSTSDown) {
		inst.host.observeSTS()
	}
}

func stsError(kind credentials.Kind, code string) error {
	return fmt.Errorf("simulated: %w", &credentials.Error{Kind: kind, Code: code})
}

// assume simulates the method Assume of credentials.Client.
func (inst *instance) assume(_ context.Context, s credentials.Session) (credentials.Credentials, error) {
	sim := inst.sim
	arn := s.Role.String()
	if !inst.alive {
		return credentials.Credentials{}, context.Canceled
	}
	sim.checkCall(sim.current, s)
	sim.trace.add("%d AssumeRole %s as %s for %s", inst.number, arn, s.Name, s.Duration)
	if err := inst.callSTS("AssumeRole", arn); err != nil {
		sim.trace.add("%d AssumeRole %s: %v", inst.number, arn, err)
		return credentials.Credentials{}, err
	}
	if sim.sts.distrusts[s.Role.Name()] {
		return credentials.Credentials{}, stsError(credentials.Denied, "AccessDenied")
	}
	if s.Duration > time.Hour && !sim.cfg.isUser {
		return credentials.Credentials{}, stsError(credentials.Rejected, "ValidationError")
	}
	sim.checkIssue(sim.current, s)
	id := fmt.Sprintf("ASIA%016d", len(sim.sts.issued))
	expires := sim.time().Truncate(time.Second).Add(s.Duration)
	sim.sts.issued[id] = session{role: arn, name: s.Name, issued: sim.now, expires: expires}
	c := credentials.Credentials{
		AccessKeyID: id, SecretAccessKey: credentials.Redact("secret of " + id), SessionToken: credentials.Redact("token of " + id),
		Issued: stsClock{inst.host}.Now().UTC().Truncate(time.Second), Expires: expires,
	}
	sim.wait(sim.faults.stsLatency("answer " + arn))
	return c, nil
}
