package e2e

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/pkg/request"
	"kube-aws-iam-controller/test/env"
)

// asking is how a pod asks for its role, as tables say it.
type asking string

const (
	// byVolume: the pod mounts the Secret of a role, as docs/sdk-configuration.md says.
	byVolume asking = "volume"
	// byAccountVolume: the pod mounts the Secret of its ServiceAccount.
	byAccountVolume asking = "ServiceAccount's volume"
	// byAnnotation: the pod has kube2iam's annotation, and nothing else.
	byAnnotation asking = "annotation"
	// byLabel: the pod has the label of docs/injection.md, and nothing else.
	byLabel asking = "label"
	// byAccount: the pod has nothing, and its ServiceAccount is annotated.
	byAccount asking = "ServiceAccount"
)

// askingTable names programs.
type askingTable map[string]asking

// askings are how the pods of programs ask. Those of programs that use the endpoint ask by their
// annotation unless they are here, and others by a volume. namespace.yaml has the ServiceAccounts,
// with the names of their roles, which trust the web identity of that ServiceAccount: of SDKs that
// cache credentials each in its own way.
var askings = askingTable{
	"aws-cli": byAnnotation,
	"boto3":   byAccount,
	"go-v2":   byLabel,
	"js-v3":   byAccountVolume,

	"boto3" + endpointSuffix: byAccount,
	"go-v2" + endpointSuffix: byLabel,
}

func (a askingTable) of(name string) asking {
	switch by, known := a[name]; {
	case known:
		return by
	case strings.HasSuffix(name, endpointSuffix):
		return byAnnotation
	default:
		return byVolume
	}
}

// injected reports whether the API server gives the pod what it needs.
func (a asking) injected() bool { return a == byAnnotation || a == byLabel || a == byAccount }

// ofAccount reports whether the pod uses the Secret of its ServiceAccount.
func (a asking) ofAccount() bool { return a == byAccountVolume || a == byLabel || a == byAccount }

// secret returns the name of the Secret that the program's pod uses for a role.
func (p *program) secret(role string) string {
	if p.asks.ofAccount() {
		return accountPrefix + role
	}
	return secretPrefix + role
}

// deliveryAnnotation is the annotation of docs/injection.md that says how a pod gets credentials.
const deliveryAnnotation = "iam.amazonaws.com/delivery"

// ask has a pod ask for the role of a Secret.
func (p *program) ask(pod *corev1.Pod, secret string) {
	if p.endpoint {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, deliveryAnnotation, "endpoint")
	}
	switch p.asks {
	case byAnnotation:
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, request.RoleAnnotation, strings.TrimPrefix(secret, secretPrefix))
	case byLabel:
		metav1.SetMetaDataLabel(&pod.ObjectMeta, request.InjectLabel, "true")
	case byAccount:
	case byVolume, byAccountVolume:
		p.mount(pod, secret)
	}
}

// mount adds to a pod what docs/sdk-configuration.md says.
func (p *program) mount(pod *corev1.Pod, secret string) {
	app := &pod.Spec.Containers[0]
	app.Env = append(app.Env,
		corev1.EnvVar{Name: "AWS_REGION", Value: env.Region}, corev1.EnvVar{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"})
	for _, line := range p.env {
		variable, value, _ := strings.Cut(line, "=")
		app.Env = append(app.Env, corev1.EnvVar{Name: variable, Value: value})
	}
	app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: volumeName, MountPath: mountPath, ReadOnly: true})
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: volumeName, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
	})
}
