//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/hack/sandbox"
	"kube-aws-iam-controller/pkg/credentials/ststest"
	"kube-aws-iam-controller/pkg/secret"
)

const (
	// halfSession is how long what the controller needs may be away without any harm to a pod.
	halfSession = sdkSession / 2
	// twoRenewals is long enough for most Secrets to be renewed twice.
	twoRenewals = sdkSession / 3
	// killing is how long the controller is killed again and again. After each kill it is left in peace for killPause and up to as long again: the
	// Lease of a leader that was killed is another's after 13 s.
	killing   = 5 * time.Minute
	killPause = 20 * time.Second
)

// kills ends every replica of the controller by SIGKILL, at random moments.
func kills(ctx context.Context, f *fleet) (note string, err error) {
	killed, began := 0, time.Now()
	for time.Since(began) < killing {
		n, err := f.killController(ctx)
		if err != nil || n == 0 {
			return "", errors.Join(err, fmt.Errorf("%d controllers were killed", n))
		}
		killed += n
		if err := f.follow(ctx, killPause+rand.N(killPause)); err != nil { //nolint:gosec // no secret
			return "", err
		}
	}
	return fmt.Sprintf("%d controllers killed", killed), nil
}

// killController kills every replica, and deletes their pods: what the kubelet starts again it would start later each time.
func (c *cluster) killController(ctx context.Context) (killed int, err error) {
	pids, err := processes(controllerName)
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if err != nil {
		return killed, err
	}
	return killed, c.Cluster.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(kubeSystem),
		client.MatchingLabels{"application": controllerName}, client.GracePeriodSeconds(0))
}

// filter adds rules of iptables, or takes them away again.
func (c *cluster) filter(ctx context.Context, add bool, rules ...string) error {
	for _, rule := range rules {
		verb := "--delete"
		if add {
			verb = "--insert"
		}
		if err := c.command(ctx, "iptables", append([]string{"--wait", verb}, strings.Fields(rule)...)...); err != nil {
			return err
		}
	}
	return nil
}

// partition loses all packets between the leader and the API server, both ways.
func partition(ctx context.Context, f *fleet) (note string, err error) {
	old, err := f.leader(ctx)
	if err != nil {
		return "", err
	}
	rules := []string{"INPUT -s " + old.Status.PodIP + " -d " + apiAddress + " -j DROP", "OUTPUT -s " + apiAddress + " -d " + old.Status.PodIP + " -j DROP"}
	if err := f.filter(ctx, true, rules...); err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.await(ctx, "another replica leads", func() (bool, error) {
		now, err := f.leader(ctx)
		return err == nil && now.UID != old.UID, client.IgnoreNotFound(err)
	}); err != nil {
		return "", err
	}
	took := time.Since(began)
	if err := f.follow(ctx, halfSession-took); err != nil {
		return "", err
	}
	if err := f.filter(ctx, false, rules...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.0f s, another led after %.0f s", time.Since(began).Seconds(), took.Seconds()), f.awaitController(ctx)
}

// apiServerRestarted kills the API server and starts it again at once, with a history that begins after all that its clients know.
func apiServerRestarted(ctx context.Context, f *fleet) (note string, err error) {
	again, err := f.halt(ctx, kubeAPIServer)
	if err != nil {
		return "", err
	}
	if err := f.compact(ctx); err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.restartAPIServer(ctx, again); err != nil {
		return "", err
	}
	return fmt.Sprintf("etcd compacted meanwhile, answered after %.0f s", time.Since(began).Seconds()), nil
}

// longSession is how long sessions last where the Lease may have to pass on after the fault: the 16 s that this takes at the worst are little of half an
// hour, and more than there is to spare of half a minute.
const longSession = 3 * time.Minute

// apiServerAway kills the API server, and starts it again half a session later.
func apiServerAway(ctx context.Context, f *fleet) (note string, err error) {
	f.STS.SetSessionLifetime(longSession)
	if err := f.awaitFresh(ctx, longSession); err != nil {
		return "", err
	}
	restarts, err := f.restarts(ctx)
	if err != nil {
		return "", err
	}
	again, err := f.halt(ctx, kubeAPIServer)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := f.follow(ctx, longSession/2); err != nil {
		return "", err
	}
	f.STS.SetSessionLifetime(sdkSession)
	if err := f.restartAPIServer(ctx, again); err != nil {
		return "", err
	}
	took := time.Since(began)
	// It would look at its Secrets again only after up to two minutes: that, too, is little of half an hour.
	if again, err = f.halt(ctx, kubelet); err != nil {
		return "", err
	}
	if err := again(); err != nil {
		return "", err
	}
	if err := f.awaitController(ctx); err != nil {
		return "", err
	}
	err = f.await(ctx, "the kubelet tells that the leader ended once", func() (bool, error) {
		now, err := f.restarts(ctx)
		if now > restarts+1 {
			err = fmt.Errorf("controllers ended %d times, and not only the leader once", now-restarts)
		}
		return now == restarts+1, err
	})
	return fmt.Sprintf("away for %.0f s, with sessions of %s; the leader ended once, and waited", took.Seconds(), longSession), err
}

// restarts is how often a container of the controller was started again.
func (c *cluster) restarts(ctx context.Context) (restarts int32, err error) {
	var running corev1.PodList
	err = c.Cluster.List(ctx, &running, client.InNamespace(kubeSystem), client.MatchingLabels{"application": controllerName})
	for i := range running.Items {
		for _, status := range running.Items[i].Status.ContainerStatuses {
			restarts += status.RestartCount
		}
	}
	return restarts, err
}

// watchesReset compacts etcd and breaks every connection of pods with the API server, three times.
func watchesReset(ctx context.Context, f *fleet) (note string, err error) {
	rule := "INPUT -s " + pods + " -d " + apiAddress + " -p tcp -j REJECT --reject-with tcp-reset"
	refused := 0
	for range 3 {
		if err := f.compact(ctx); err != nil {
			return "", err
		}
		if err := f.filter(ctx, true, rule); err != nil {
			return "", err
		}
		if err := f.follow(ctx, 3*time.Second); err != nil { // the leader's Lease is renewed meanwhile
			return "", err
		}
		hit, err := f.hits(ctx)
		if err != nil || hit == 0 {
			return "", errors.Join(err, fmt.Errorf("%d packets were refused", hit))
		}
		refused += hit
		if err := f.filter(ctx, false, rule); err != nil {
			return "", err
		}
		if err := f.follow(ctx, 3*time.Second); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("three times 3 s, %d packets refused", refused), nil
}

// hits is how many packets the first rule of INPUT has seen.
func (c *cluster) hits(ctx context.Context) (packets int, err error) {
	rules, err := c.output(ctx, "iptables", "--wait", "--list-rules", "INPUT", "1", "--verbose")
	if err != nil {
		return 0, err
	}
	_, counters, _ := strings.Cut(rules, " -c ")
	_, err = fmt.Sscan(counters, &packets)
	return packets, err
}

// assumeRole is the operation that only the controller calls, so that faults of it are its own.
const assumeRole = "AssumeRole"

// stsDown breaks the connection of every call for half a session.
func stsDown(ctx context.Context, f *fleet) (note string, err error) {
	return f.sts(ctx, halfSession, ststest.ConnectionReset)
}

// stsHangs answers no call, for half of the time: who waits for an answer takes longer to see that there are answers again.
func stsHangs(ctx context.Context, f *fleet) (note string, err error) {
	return f.sts(ctx, halfSession/2, ststest.Hang)
}

// sts lets something go wrong with every call of the controller.
func (f *fleet) sts(ctx context.Context, d time.Duration, fault ststest.Fault) (note string, err error) {
	f.STS.SetFault(fault, assumeRole)
	defer f.STS.SetFault(ststest.NoFault)
	code := fault.String()
	if fault == ststest.Throttled {
		code = "Throttling"
	}
	met, err := f.met(code, func() error { return f.follow(ctx, d) })
	return fmt.Sprintf("%s for %.0f s, %d calls", fault, d.Seconds(), met), err
}

// met counts the controller's calls that end in some way while something is done. There has to be one, or nothing was tried.
func (f *fleet) met(code string, do func() error) (calls int, err error) {
	outcome := ststest.Outcome{Operation: assumeRole, Code: code}
	before := f.STS.Counts()[outcome]
	if err := do(); err != nil {
		return 0, err
	}
	if calls = f.STS.Counts()[outcome] - before; calls == 0 {
		return 0, fmt.Errorf("no call of the controller ended with %q", code)
	}
	return calls, nil
}

// stsSlow lets each answer take so long that it is just waited for.
func stsSlow(ctx context.Context, f *fleet) (note string, err error) {
	const latency = 4 * time.Second
	f.STS.SetLatency(latency, assumeRole)
	defer f.STS.SetLatency(stsLatency)
	met, err := f.met("", func() error { return f.follow(ctx, twoRenewals) })
	return fmt.Sprintf("%.0f s an answer, for %.0f s, %d calls", latency.Seconds(), twoRenewals.Seconds(), met), err
}

// stsThrottles lets STS refuse every call, and then all but one a second.
func stsThrottles(ctx context.Context, f *fleet) (note string, err error) {
	note, err = f.sts(ctx, halfSession/2, ststest.Throttled)
	if err != nil {
		return "", err
	}
	f.STS.SetRateLimit(1, assumeRole)
	defer f.STS.SetRateLimit(0)
	return note + ", then all but one a second", f.follow(ctx, halfSession/2)
}

// clockAhead and clockBehind let the controller's clock be wrong by more than STS puts up with in a signature.
const wrongBy = 7 * time.Minute

func clockAhead(ctx context.Context, f *fleet) (note string, err error) { return f.clock(ctx, wrongBy) }

func clockBehind(ctx context.Context, f *fleet) (note string, err error) {
	return f.clock(ctx, -wrongBy)
}

// clock deploys the same program with a clock that is wrong, and afterwards the image again.
func (f *fleet) clock(ctx context.Context, offset time.Duration) (note string, err error) {
	if err := f.redeploy(ctx, clockImage, fmt.Sprintf("CLOCK_OFFSET=%.0f", offset.Seconds())); err != nil {
		return "", err
	}
	if err := f.follow(ctx, twoRenewals); err != nil {
		return "", err
	}
	if err := f.leaderSays(ctx, "the machine's clock is "+offset.Abs().String()); err != nil {
		return "", err
	}
	return fmt.Sprintf("by %s", offset), f.redeploy(ctx, controllerName+":latest", "CLOCK_OFFSET-")
}

// leaderSays returns an error unless the leader's log has a text in it.
func (c *cluster) leaderSays(ctx context.Context, text string) error {
	pod, err := c.leader(ctx)
	if err != nil {
		return err
	}
	said, err := os.ReadFile(filepath.Join(podLogs, kubeSystem+"_"+pod.Name+"_"+string(pod.UID), controllerName, "0.log"))
	if err == nil && !strings.Contains(string(said), text) {
		err = fmt.Errorf("the log of %s does not say: %s", pod.Name, text)
	}
	return err
}

// redeploy sets the image and an environment variable of the controller, and waits until all of it is so.
func (f *fleet) redeploy(ctx context.Context, image, variable string) error {
	const deployment = "deployment/" + controllerName
	for _, args := range [][]string{
		{"rollout", "pause", deployment},
		{"set", "env", deployment, variable},
		{"set", "image", deployment, controllerName + "=" + image},
		{"rollout", "resume", deployment},
	} {
		if err := f.kubectl(ctx, append([]string{"--namespace=" + kubeSystem}, args...)...); err != nil {
			return err
		}
	}
	return f.awaitController(ctx)
}

// awaitController waits until both replicas of the controller are ready and one leads.
func (f *fleet) awaitController(ctx context.Context) error {
	return f.await(ctx, "both replicas are ready and one leads", func() (bool, error) { return f.controllerLeads(ctx) })
}

// clockImage is the image with the clock that can be wrong.
const clockImage = controllerName + ":clock"

// mending is how long a Secret may stay spoiled.
const mending = time.Second

// byHand spoils every user's Secret and then deletes it, as somebody might who knows no better. Not the very file that the user reads, as the kubelet
// may happen to take that at just this moment, and there is no help against that.
func byHand(ctx context.Context, f *fleet) (note string, err error) {
	var worst time.Duration
	for _, u := range f.users {
		for _, spoil := range []func(context.Context) error{
			func(ctx context.Context) error {
				return f.edit(ctx, u, `{"data":{"container.json":null,"expire":"bmV2ZXI="}}`)
			},
			func(ctx context.Context) error {
				return f.edit(ctx, u, `{"metadata":{"annotations":{"iam.amazonaws.com/role-arn":null,"iam.amazonaws.com/issued-at":"never"}}}`)
			},
			func(ctx context.Context) error {
				u.byHand++
				return f.Cluster.Delete(ctx, &corev1.Secret{ObjectMeta: objectMeta(u.secretKey())})
			},
		} {
			took, err := f.mended(ctx, u, spoil)
			if err != nil {
				return "", err
			}
			worst = max(worst, took)
		}
	}
	if worst > mending {
		err = fmt.Errorf("a Secret was mended only after %s", worst)
	}
	return fmt.Sprintf("%d edits and %d deletions, each mended within %d ms", 2*len(f.users), len(f.users), worst.Milliseconds()), err
}

func (f *fleet) edit(ctx context.Context, u *user, patch string) error {
	s := corev1.Secret{ObjectMeta: objectMeta(u.secretKey())}
	return f.Cluster.Patch(ctx, &s, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// mended spoils a user's Secret, and tells how long it takes until there are new credentials in it.
func (f *fleet) mended(ctx context.Context, u *user, spoil func(context.Context) error) (time.Duration, error) {
	_, before := f.STS.CallsAfter(0)
	if err := spoil(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	err := sandbox.Await(ctx, "the Secret of "+u.name+" is mended", func() (bool, error) {
		var s corev1.Secret
		if err := f.Cluster.Get(ctx, u.secretKey(), &s); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		calls, _ := f.STS.CallsAfter(before)
		return holdsOneOf(&s, calls), nil
	})
	return time.Since(began), err
}

// holdsOneOf tells whether the Secret holds the credentials that one of the calls gave.
func holdsOneOf(s *corev1.Secret, calls []ststest.Call) bool {
	return slices.ContainsFunc(calls, func(call ststest.Call) bool {
		return call.AccessKeyID != "" && call.AccessKeyID == s.Annotations[secret.AccessKeyIDAnnotation]
	})
}

func objectMeta(key client.ObjectKey) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
}
