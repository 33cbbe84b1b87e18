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
	// ownRole is the role that the controller is.
	ownRole = "controller"
)

// sts is AWS STS.
type sts struct {
	w    *World
	base role.Base
	// issued are all sessions that there ever were, by access key ID.
	issued map[string]session
	// distrusts are the roles that do not let the controller in.
	distrusts map[string]bool
}

// session is one session of a role.
type session struct {
	role, name string
	issued     time.Duration
	expires    time.Time
}

func newSTS(w *World) *sts {
	base, err := role.ParseBase("arn:aws:iam::" + account + ":role/")
	if err != nil {
		panic(err)
	}
	return &sts{w: w, base: base, issued: map[string]session{}, distrusts: map[string]bool{}}
}

// arn is the ARN of a role by its name.
func (s *sts) arn(name string) string { return s.base.String() + name }

// whoami is the answer to GetCallerIdentity.
func (s *sts) whoami() credentials.Caller {
	if s.w.cfg.isUser {
		return credentials.Caller{ARN: "arn:aws:iam::" + account + ":user/controller-user", Base: s.base}
	}
	return credentials.Caller{ARN: "arn:aws:sts::" + account + ":assumed-role/" + ownRole + "/i-0123456789", Base: s.base}
}

// caller is credentials.Client's Caller: it asks until it knows.
func (inst *instance) caller(context.Context) (credentials.Caller, error) {
	w := inst.w
	if !inst.known {
		if err := inst.ask("GetCallerIdentity", ""); err != nil {
			return credentials.Caller{}, err
		}
		inst.known = true
	}
	if w.faults.active(faultIdentityLost) {
		return credentials.Caller{}, stsError(credentials.Expired, "ExpiredToken")
	}
	return w.sts.whoami(), nil
}

// ask is one request to STS, as far as it does not matter what for.
func (inst *instance) ask(operation, arn string) error {
	w := inst.w
	what := operation + " " + arn
	if !w.wait(w.faults.stsLatency(what)) {
		return context.Canceled
	}
	if w.faults.active(faultSTSDown) {
		return stsError(credentials.Unavailable, "NoAnswer")
	}
	inst.machine.hear()
	return w.faults.sts(what)
}

// checkClock is credentials.Client's CheckClock.
func (inst *instance) checkClock() {
	if !inst.machine.sure() && !inst.w.faults.active(faultSTSDown) {
		inst.machine.hear()
	}
}

func stsError(kind credentials.Kind, code string) error {
	return fmt.Errorf("simulated: %w", &credentials.Error{Kind: kind, Code: code})
}

// assume is credentials.Client's Assume.
func (inst *instance) assume(_ context.Context, s credentials.Session) (credentials.Credentials, error) {
	w := inst.w
	arn := s.Role.String()
	if !inst.alive {
		return credentials.Credentials{}, context.Canceled
	}
	w.judgeCall(w.current, s)
	w.trace.add("%d AssumeRole %s as %s for %s", inst.number, arn, s.Name, s.Duration)
	if err := inst.ask("AssumeRole", arn); err != nil {
		w.trace.add("%d AssumeRole %s: %v", inst.number, arn, err)
		return credentials.Credentials{}, err
	}
	if w.sts.distrusts[s.Role.Name()] {
		return credentials.Credentials{}, stsError(credentials.Denied, "AccessDenied")
	}
	if s.Duration > time.Hour && !w.cfg.isUser {
		return credentials.Credentials{}, stsError(credentials.Rejected, "ValidationError")
	}
	w.judgeIssue(w.current, s)
	id := fmt.Sprintf("ASIA%016d", len(w.sts.issued))
	expires := w.time().Truncate(time.Second).Add(s.Duration)
	w.sts.issued[id] = session{role: arn, name: s.Name, issued: w.now, expires: expires}
	c := credentials.Credentials{
		AccessKeyID: id, SecretAccessKey: credentials.Redact("secret of " + id), SessionToken: credentials.Redact("token of " + id),
		Issued: corrected{inst.machine}.Now().UTC().Truncate(time.Second), Expires: expires,
	}
	w.wait(w.faults.stsLatency("answer " + arn))
	return c, nil
}
