package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
	"kube-aws-iam-controller/cmd/kubectl-aws_iam/usage"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
)

// findDeployment is the command that finds the controller wherever it is installed.
const findDeployment = "kubectl get deployments --all-namespaces --selector " + settings.Selector

// controller is the check that replicas run, and serve a namespace unless that is "".
func (i *Installation) controller(namespace string) Check {
	d := i.Deployment.Value
	switch {
	case i.Deployment.forbidden():
		return unknown(checkController, "you may not list Deployments where it could be (--controller-namespace)")
	case i.Deployment.Err != nil && !i.Deployment.missing():
		return unknown(checkController, "%v", i.Deployment.Err)
	case d == nil:
		return failed(checkController, findDeployment, "there is no Deployment with the label %s", settings.Selector)
	case i.SettingsErr != nil:
		return failed(checkController, describe(d), "Deployment %s/%s: %v", d.Namespace, d.Name, i.SettingsErr)
	case namespace != "" && !i.Settings.Serves(namespace):
		return failed(checkController, fmt.Sprintf("kubectl edit deployment --namespace %s %s", d.Namespace, d.Name),
			"Deployment %s/%s serves only %s (--namespace)", d.Namespace, d.Name, strings.Join(slices.Sorted(slices.Values(i.Settings.Namespaces)), ", "))
	case d.Status.AvailableReplicas == 0:
		return failed(checkController, describe(d), "Deployment %s/%s has no available replica", d.Namespace, d.Name)
	default:
		return passed(checkController, "Deployment %s/%s: %d of %d replicas available", d.Namespace, d.Name, d.Status.AvailableReplicas, replicas(d))
	}
}

func describe(d *appsv1.Deployment) string {
	return fmt.Sprintf("kubectl describe deployment --namespace %s %s", d.Namespace, d.Name)
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// lease is the check that a replica is active.
func (i *Installation) lease(now time.Time) Check {
	switch l := i.Lease.Value; {
	case i.Deployment.Value != nil && !i.Settings.LeaderElect:
		return unknown(checkLease, "not used: the controller runs without --leader-elect")
	case i.Lease.forbidden():
		return unknown(checkLease, "you may not read Leases of the controller's namespace")
	case i.Lease.missing():
		return failed(checkLease, i.logs(), "there is no Lease %s: no replica was ever active", i.Settings.LeaseName())
	case i.Lease.Err != nil:
		return unknown(checkLease, "%v", i.Lease.Err)
	case l == nil:
		return unknown(checkLease, "it is not known where it is")
	default:
		return i.holder(l, now)
	}
}

// holder is the check that a replica holds the Lease.
func (i *Installation) holder(l *coordinationv1.Lease, now time.Time) Check {
	switch {
	case l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.RenewTime == nil:
		return failed(checkLease, i.logs(), "no replica holds it")
	case now.Sub(l.Spec.RenewTime.Time) > 2*leaseDuration(l):
		return failed(checkLease, i.logs(), "%s held it, and renewed it last %s: no replica is active", nameOf(l), ago(l.Spec.RenewTime.Time, now))
	default:
		return passed(checkLease, "held by %s", nameOf(l))
	}
}

// leaseDuration returns how long a Lease holds.
func leaseDuration(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil {
		return time.Minute
	}
	return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}

// nameOf returns the name of the pod that holds a Lease, which begins the identity.
func nameOf(l *coordinationv1.Lease) string {
	name, _, _ := strings.Cut(*l.Spec.HolderIdentity, "_")
	return name
}

// logs returns the command that shows what the controller logged last.
func (i *Installation) logs() string {
	if d := i.Deployment.Value; d != nil {
		return fmt.Sprintf("kubectl logs --namespace %s --selector %s --tail 20", d.Namespace, settings.Selector)
	}
	return findDeployment
}

// seed is the check of the controller's own credentials, if they are in a Secret.
func (i *Installation) seed(now time.Time) Check {
	switch name := i.Settings.Seed.String(); {
	case i.Deployment.Value == nil:
		return unknown(checkSeed, "it is not known whether the controller has one (--seed-secret)")
	case i.Settings.Seed.Name == "":
		return unknown(checkSeed, "not used: the controller runs without --seed-secret")
	case i.Seed.forbidden():
		return unknown(checkSeed, "you may not read Secret %s", name)
	case i.Seed.missing():
		return failed(checkSeed, "kubectl aws-iam seed", "Secret %s does not exist", name)
	case i.Seed.Err != nil || i.Seed.Value == nil:
		return unknown(checkSeed, "Secret %s cannot be read: %v", name, i.Seed.Err)
	default:
		return i.lifeOfSeed(i.Seed.Value, now)
	}
}

// lifeOfSeed is the check that the seed is renewed.
func (i *Installation) lifeOfSeed(o *metav1.PartialObjectMetadata, now time.Time) Check {
	name := i.Settings.Seed.String()
	issued, expires, ok := usage.Lifetime(o.Annotations)
	switch {
	case !secret.IsManaged(o):
		return unknown(checkSeed, "Secret %s is there, and the controller has not adopted it yet", name)
	case !ok:
		return unknown(checkSeed, "Secret %s does not say when it expires", name)
	case !now.Before(expires):
		return failed(checkSeed, "kubectl aws-iam seed", "Secret %s expired %s", name, ago(expires, now))
	case renewal.Lifetime{Issued: issued, Expires: expires}.Urgent(now):
		return failed(checkSeed, i.logs(), "Secret %s expires %s, and is not renewed", name, ago(expires, now))
	default:
		return passed(checkSeed, "Secret %s expires %s", name, ago(expires, now))
	}
}

const (
	// maxSkew is what the clock of a machine can be off. AWS refuses requests with signatures that
	// are more than five minutes old or early. Source: "Signature Version 4 request elements" in
	// the IAM user guide.
	maxSkew = 5 * time.Minute
	// nodeLease is how often a kubelet renews the Lease of its node: a quarter of the 40 s that are
	// the default of nodeLeaseDurationSeconds. Source: nodeLeaseRenewIntervalFraction in the
	// kubelet's source.
	nodeLease = 10 * time.Second
)

// clock is the check of the clock of the pod's node, by which SDKs sign requests. A kubelet writes
// it every ten seconds into the Lease of the node.
func (s *Snapshot) clock() Check {
	switch {
	case s.Pod == nil || s.Pod.Spec.NodeName == "":
		return unknown(checkClock, "there is no node to look at")
	case s.Node.forbidden():
		return unknown(checkClock, "you may not read the Lease of node %s", s.Pod.Spec.NodeName)
	case s.Node.Err != nil || s.Node.Value == nil || s.Node.Value.Spec.RenewTime == nil:
		return unknown(checkClock, "node %s has no Lease that says what its clock is", s.Pod.Spec.NodeName)
	}
	const what = "the clock of node %s, which AWS SDKs sign requests by, "
	switch age := s.Now.Sub(s.Node.Value.Spec.RenewTime.Time); {
	case age < -maxSkew:
		return failed(checkClock, "kubectl describe node "+s.Pod.Spec.NodeName, what+"is %s ahead of the API server's", s.Pod.Spec.NodeName, (-age).Round(time.Second))
	case age > maxSkew:
		return failed(checkClock, "kubectl describe node "+s.Pod.Spec.NodeName, what+"is %s behind the API server's, or the node is not alive", s.Pod.Spec.NodeName, age.Round(time.Second))
	case age > 2*nodeLease, age < -nodeLease:
		return passed(checkClock, what+"is up to %s off: AWS accepts five minutes", s.Pod.Spec.NodeName, age.Abs().Round(time.Second))
	default:
		return passed(checkClock, what+"agrees with the API server's", s.Pod.Spec.NodeName)
	}
}
