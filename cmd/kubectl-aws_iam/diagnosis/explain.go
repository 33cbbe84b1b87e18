package diagnosis

import (
	"cmp"
	"fmt"

	"kube-aws-iam-controller/pkg/request"
)

// The names of the checks of an explanation.
const (
	checkRequest    = "request"
	checkName       = "name"
	checkInjection  = "injection"
	checkMount      = "mount"
	checkRight      = "right"
	checkSecret     = "Secret"
	checkEvents     = "events"
	checkController = "controller"
	checkLease      = "Lease"
	checkSeed       = "seed"
	checkClock      = "clock"
)

// causes is the order of the checks from cause to effect. A Secret is missing because of what comes
// before it.
var causes = []string{
	checkRequest, checkName, checkInjection, checkRight, checkController, checkLease, checkSeed, checkClock, checkEvents, checkSecret, checkMount,
}

// Explain returns why what an object asks for works or waits.
func Explain(s *Snapshot) *Report {
	var sections []Section
	if len(s.Asked) == 0 {
		sections = append(sections, Section{Title: "Request", Checks: []Check{s.asksForNothing()}})
	}
	for i := range s.Asked {
		sections = append(sections, s.explain(&s.Asked[i]))
	}
	return report(causes, append(sections, Section{Title: "Controller", Checks: []Check{
		s.controller(s.Namespace), s.lease(s.Now), s.seed(s.Now), s.clock(),
	}})...)
}

// explain returns the checks of one Secret. What depends on a link that failed is not reached.
func (s *Snapshot) explain(a *Asked) Section {
	section := Section{Title: "Secret " + a.Request.Secret}
	reached := true
	add := func(c Check) {
		reached = reached && c.Status != Failed
		section.Checks = append(section.Checks, c)
	}
	add(s.request(a))
	for _, next := range []struct {
		name  string
		check func(*Asked) Check
	}{{checkName, s.name}, {checkInjection, s.injection}, {checkRight, s.right}} {
		if !reached {
			add(unknown(next.name, "not reached"))
			continue
		}
		add(next.check(a))
	}
	if reached {
		add(s.secret(a))
	} else {
		add(s.leftover(a))
	}
	if s.Pod != nil {
		add(s.mount(a))
	}
	add(s.events(a))
	return section
}

// asksForNothing is the check of an object that asks for no role.
func (s *Snapshot) asksForNothing() Check {
	switch {
	case s.Account != nil:
		return failed(checkRequest, annotate(s.Namespace, s.Account.Name), "the ServiceAccount has none of the annotations %s and %s", request.RoleAnnotation, request.RoleARNAnnotation)
	case isFinished(s.Pod):
		return unknown(checkRequest, "the pod has ended, and asks for nothing any more")
	case s.Pod.Annotations[request.RoleAnnotation] == "":
		return failed(checkRequest, fmt.Sprintf("kubectl aws-iam explain serviceaccount --namespace %s %s", s.Namespace, request.ServiceAccountName(s.Pod)),
			"the pod references no Secret %s<role> or %s<serviceaccount>, and asks for none by injection", request.SecretPrefix, request.ServiceAccountPrefix)
	case s.Labels.Err == nil && s.Labels.Value[request.InjectLabel] != "true":
		return failed(checkRequest, fmt.Sprintf("kubectl label namespace %s %s=true", s.Namespace, request.InjectLabel),
			"the pod has the annotation %s, which counts only in a namespace with the label %s: \"true\"; then the pod must be created again",
			request.RoleAnnotation, request.InjectLabel)
	default:
		return failed(checkRequest, restart(s.Pod),
			"the pod has the annotation %s, and was created without a Secret: the policies of config/injection were not in force", request.RoleAnnotation)
	}
}

// annotate returns the command that gives a ServiceAccount a role, which the reader fills in.
func annotate(namespace, account string) string {
	return fmt.Sprintf("kubectl annotate serviceaccount --namespace %s %s %s=<role name or ARN>", namespace, account, request.RoleAnnotation)
}

func (s *Snapshot) request(a *Asked) Check {
	switch {
	case s.Account != nil:
		return passed(checkRequest, "the ServiceAccount's annotation asks for role %s", a.Request.Role)
	case s.AWSIAMRole != nil && a.Request.Role != "":
		return passed(checkRequest, "spec.roleReference asks for role %s", a.Request.Role)
	case s.AWSIAMRole != nil:
		return failed(checkRequest, fmt.Sprintf("kubectl edit awsiamrole --namespace %s %s", s.Namespace, s.AWSIAMRole.Name), "%v", a.Validate())
	case a.Account.Value != nil || a.Account.Err != nil:
		return s.requestOfAccount(a)
	default:
		return passed(checkRequest, "the pod references Secret %s, which asks for role %s", a.Request.Secret, a.Request.Role)
	}
}

// requestOfAccount is the check of a pod that mounts the Secret of its ServiceAccount.
func (s *Snapshot) requestOfAccount(a *Asked) Check {
	account := request.ServiceAccountName(s.Pod)
	switch {
	case a.Account.forbidden():
		return unknown(checkRequest, "the pod references the Secret of ServiceAccount %s, whose annotations you may not read", account)
	case a.Account.Err != nil && !a.Account.missing():
		return unknown(checkRequest, "ServiceAccount %s cannot be read: %v", account, a.Account.Err)
	case a.Account.missing():
		return failed(checkRequest, fmt.Sprintf("kubectl create serviceaccount --namespace %s %s", s.Namespace, account), "ServiceAccount %s does not exist", account)
	case a.Request.Role == "" && a.Validate() == nil:
		return failed(checkRequest, annotate(s.Namespace, account),
			"the pod references the Secret of ServiceAccount %s, which has none of the annotations %s and %s", account, request.RoleAnnotation, request.RoleARNAnnotation)
	default:
		return passed(checkRequest, "the pod references the Secret of ServiceAccount %s, which asks for role %s", account, cmp.Or(a.Request.Role, "that is not valid"))
	}
}

// name is the check that the request can be served at all.
func (s *Snapshot) name(a *Asked) Check {
	err := cmp.Or(a.Validate(), a.RoleErr)
	switch {
	case err == nil && a.Role.IsZero() && a.Request.Role == "":
		return unknown(checkName, "the role is not known")
	case err == nil && a.Role.IsZero():
		return passed(checkName, "it is a role's name; its ARN is not known without the controller's base role ARN (--base-role-arn)")
	case err == nil:
		return passed(checkName, "it is %s", a.Role)
	case a.Rejection() == request.NotInjected:
		return unknown(checkName, "not reached")
	case a.Account.Value != nil && a.Validate() == nil:
		return failed(checkName, fmt.Sprintf("kubectl edit serviceaccount --namespace %s %s", s.Namespace, a.Account.Value.Name), "%v", err)
	default:
		return failed(checkName, s.edit(), "%v", err)
	}
}

// edit returns the command that corrects what the object asks for.
func (s *Snapshot) edit() string {
	switch {
	case s.AWSIAMRole != nil:
		return fmt.Sprintf("kubectl edit awsiamrole --namespace %s %s", s.Namespace, s.AWSIAMRole.Name)
	case s.Account != nil:
		return fmt.Sprintf("kubectl edit serviceaccount --namespace %s %s", s.Namespace, s.Account.Name)
	default:
		kind, name := workload(s.Pod)
		return fmt.Sprintf("kubectl edit %s --namespace %s %s", kind, s.Namespace, name)
	}
}

// injection is the check that a pod has what it should have by injection.
func (s *Snapshot) injection(a *Asked) Check {
	switch {
	case s.Account != nil:
		return s.injectionOfAccount(a)
	case s.Pod == nil:
		return unknown(checkInjection, "does not matter: pods mount the Secret of an AWSIAMRole by its name")
	case a.Rejection() == request.NotInjected && a.Validate() != nil:
		return failed(checkInjection, restart(s.Pod), "%v", a.Validate())
	case s.Pod.Labels[request.InjectLabel] == "true" || s.Pod.Annotations[request.RoleAnnotation] != "":
		return passed(checkInjection, "the pod asks for injection, and has the Secret")
	default:
		return unknown(checkInjection, "does not matter: the pod references the Secret itself")
	}
}

// injectionOfAccount says how pods of a ServiceAccount get its Secret.
func (s *Snapshot) injectionOfAccount(a *Asked) Check {
	switch pods := len(a.Pods.Value); {
	case a.Pods.Err != nil:
		return unknown(checkInjection, "the pods cannot be listed: %v", a.Pods.Err)
	case pods > 0:
		return passed(checkInjection, "%s the Secret", count(pods, "pod references", "pods reference"))
	case s.Account.Labels[request.RoleAnnotatedLabel] == "true":
		return unknown(checkInjection, "there is no pod of the ServiceAccount; new ones are injected")
	default:
		return unknown(checkInjection, "no pod references the Secret: one that has the label %s: \"true\" does, where config/injection is in force", request.InjectLabel)
	}
}

// right is the check that the subject may assume the role.
func (s *Snapshot) right(a *Asked) Check {
	d := a.Decision
	switch {
	case s.Settings.WebIdentity && request.IsOfServiceAccount(a.Request.Secret):
		return unknown(checkRight, "does not matter: the controller uses the ServiceAccount's own web identity, and the role's trust policy decides")
	case d.Err != nil && isForbidden(d.Err):
		return s.rightByEvents(a)
	case d.Err != nil:
		return unknown(checkRight, "%v", d.Err)
	case d.Value.Allowed:
		return passed(checkRight, "%s may assume the role (%s)", a.Subject, cmp.Or(d.Value.Reason, "allowed"))
	default:
		return s.refused(a)
	}
}

// refused is the check of a right that the subject does not have.
func (s *Snapshot) refused(a *Asked) Check {
	d := &a.Decision
	switch {
	case a.Role.IsZero() && a.Request.Role == "":
		return unknown(checkRight, "the role is not known")
	case s.Settings.DryRun:
		return unknown(checkRight, "would be refused without --dry-run-authorization: %s", d.Value.Reason)
	case s.Settings.Base.IsZero():
		return failed(checkRight, d.Value.Hint, "%s; only the name or ARN that is asked for was looked at, as the base role ARN is not known (--base-role-arn)", d.Value.Reason)
	default:
		return failed(checkRight, d.Value.Hint, "%s", d.Value.Reason)
	}
}

// rightByEvents is the same check for a user who may not create access reviews.
func (s *Snapshot) rightByEvents(a *Asked) Check {
	const may = "you may not create localsubjectaccessreviews"
	e, ok := latest(a)
	switch {
	case ok && e.Reason == reasonForbidden:
		return failed(checkRight, "kubectl describe "+s.object(), "%s; the controller's event says: %s", may, reason(e.Note))
	case a.Secret.Value != nil:
		return unknown(checkRight, "%s; the Secret is there, so that the controller allowed it to who asked first", may)
	default:
		return unknown(checkRight, "%s, and there is no event about it", may)
	}
}

// object names the explained object as arguments of kubectl.
func (s *Snapshot) object() string {
	switch {
	case s.AWSIAMRole != nil:
		return fmt.Sprintf("awsiamrole --namespace %s %s", s.Namespace, s.AWSIAMRole.Name)
	case s.Account != nil:
		return fmt.Sprintf("serviceaccount --namespace %s %s", s.Namespace, s.Account.Name)
	default:
		return fmt.Sprintf("pod --namespace %s %s", s.Namespace, s.Pod.Name)
	}
}

// mount is the check of how a pod uses the Secret.
func (s *Snapshot) mount(a *Asked) Check {
	if len(a.Warnings) == 0 {
		return passed(checkMount, "nothing in the pod keeps it from using the Secret")
	}
	note := a.Warnings[0].Note
	if more := len(a.Warnings) - 1; more > 0 {
		note += fmt.Sprintf(" (and %d more)", more)
	}
	return failed(checkMount, s.edit(), "%s: %s", a.Warnings[0].Reason, note)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
