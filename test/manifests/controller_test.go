package manifests_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/test/env"
	ststest "kube-aws-iam-controller/test/sts"
)

// testController runs the controller with the Deployment's arguments and the ServiceAccount's
// rights, and lets it do each thing that it has a right for. That the samples get their Secrets
// shows that both suffice.
func (c *cluster) testController(t *testing.T) {
	var d appsv1.Deployment
	c.get(t, &d, namespace, name)
	foreign := &corev1.Secret{}
	foreign.Namespace, foreign.Name = samples, "aws-iam-metrics-exporter"
	if err := c.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}

	controller := c.run(t, append(d.Spec.Template.Spec.Containers[0].Args,
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--unused-grace-period=0s"))
	own := []string{"aws-iam-orders", "aws-iam-reports-reader", "aws-iam-reports-writer", "aws-iam.invoices", "billing"}
	controller.eventually(t, "the samples have their Secrets", func() bool { return slices.Equal(c.ownSecrets(t), own) })
	controller.eventually(t, "the pods have events", func() bool {
		reasons := c.eventReasons(t, samples)
		return slices.Contains(reasons, "CreateCredentials") && slices.Contains(reasons, "SecretNotManaged")
	})
	controller.eventually(t, "the election has an event", func() bool { return slices.Contains(c.eventReasons(t, namespace), "LeaderElection") })

	controller.eventually(t, "it has found that both policies for its Secrets are in force", func() bool {
		return strings.Count(controller.log.String(), `"msg":"admission policy is in force"`) == 2
	})

	spoiled := &corev1.Secret{}
	c.get(t, spoiled, samples, own[0])
	spoiled.Data = nil
	if err := c.Update(t.Context(), spoiled); err != nil {
		t.Fatal(err)
	}
	controller.eventually(t, "an emptied Secret is restored", func() bool {
		c.get(t, spoiled, samples, own[0])
		return len(spoiled.Data) > 0
	})

	for _, wanting := range []client.Object{&corev1.Pod{}, &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind}}} {
		if err := c.DeleteAllOf(t.Context(), wanting, client.InNamespace(samples)); err != nil {
			t.Fatal(err)
		}
	}
	controller.eventually(t, "unused Secrets are deleted", func() bool { return len(c.ownSecrets(t)) == 0 })
	c.get(t, foreign, samples, foreign.Name)

	controller.stop(t)
	var lease coordinationv1.Lease
	c.get(t, &lease, namespace, name)
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != "" {
		t.Errorf("the Lease is still held by %s", holder)
	}
	for line := range strings.Lines(controller.log.String()) {
		if strings.Contains(line, "forbidden") {
			t.Error("the controller lacks a right: " + line)
		}
	}
}

// process is a running controller.
type process struct {
	*exec.Cmd

	log    *buffer
	exited chan error
}

// run builds the controller and starts it, with nothing in its environment that is not for it.
func (c *cluster) run(t *testing.T, args []string) *process {
	t.Helper()
	folder := t.TempDir()
	binary, kubeconfig := filepath.Join(folder, name), filepath.Join(folder, "kubeconfig")
	goRun(t, "build", "-o", binary, "../cmd/"+name)
	config, err := c.serviceAccount(t, name).KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, config, 0o600); err != nil {
		t.Fatal(err)
	}
	sts := ststest.New()
	t.Cleanup(sts.Close)
	keys := sts.AddUser("123456789012", "controller")

	p := &process{Cmd: exec.CommandContext(t.Context(), binary, args...), log: &buffer{}, exited: make(chan error, 1)} //nolint:gosec // the Deployment's arguments
	p.Stderr = p.log
	p.Env = []string{
		"HOME=" + folder, "KUBECONFIG=" + kubeconfig, "AWS_REGION=eu-central-1", "AWS_ENDPOINT_URL_STS=" + sts.URL,
		"AWS_ACCESS_KEY_ID=" + keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + keys.SecretAccessKey, "AWS_EC2_METADATA_DISABLED=true",
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the controller's log:\n" + p.log.String())
		}
	})
	return p
}

// stop ends the controller as the kubelet does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	case <-time.After(patience):
		t.Error("SIGTERM does not end it")
	}
}

// buffer is a bytes.Buffer that can be read while it is written to.
type buffer struct {
	lock sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.Write(p)
}

// String is all that was written.
func (b *buffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.String()
}

// patience is for a busy machine; what is waited for takes milliseconds.
const patience = 30 * time.Second

// pollInterval is short, as a look costs little.
const pollInterval = 20 * time.Millisecond

// eventually waits, while the controller runs, until something is so.
func (p *process) eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	err := env.AwaitWithin(t.Context(), patience, pollInterval, what, func() (bool, error) {
		select {
		case err := <-p.exited:
			return false, fmt.Errorf("the controller has ended: %v", err) //nolint:errorlint // nil means the same
		default:
			return so(), nil
		}
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// ownSecrets names the Secrets of the samples that the controller made.
func (c *cluster) ownSecrets(t *testing.T) []string {
	t.Helper()
	var secrets corev1.SecretList
	if err := c.List(t.Context(), &secrets, client.InNamespace(samples), client.MatchingLabels{"heritage": name}); err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(secrets.Items))
	for i := range secrets.Items {
		names[i] = secrets.Items[i].Name
	}
	slices.Sort(names)
	return names
}

// eventReasons are the reasons of all events in a namespace.
func (c *cluster) eventReasons(t *testing.T, namespace string) []string {
	t.Helper()
	var events eventsv1.EventList
	if err := c.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	reasons := make([]string, len(events.Items))
	for i := range events.Items {
		reasons[i] = events.Items[i].Reason
	}
	return reasons
}
