package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"kube-aws-iam-controller/pkg/request"
)

// podWithRoles returns a pod that mounts the Secrets of roles, as its creator sends it.
func podWithRoles(namespace, name string, roles ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "app:1", Env: []corev1.EnvVar{{Name: "AWS_SHARED_CREDENTIALS_FILE", Value: "/meta/aws-iam/credentials.process"}}}},
		},
	}
	for i, role := range roles {
		volume := fmt.Sprintf("role-%d", i)
		path := "/meta/aws-iam"
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: request.SecretPrefix + role}}})
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path, ReadOnly: true})
	}
	return pod
}

// secretsOf returns the names of the Secrets that a pod asks for.
func secretsOf(pod *corev1.Pod) []types.NamespacedName {
	var secrets []types.NamespacedName
	for _, d := range request.FromPod(pod, "/meta/aws-iam") {
		secrets = append(secrets, types.NamespacedName{Namespace: pod.Namespace, Name: d.Secret})
	}
	return secrets
}

// ordinary returns a running pod that requests nothing, of the size that pods have in real
// clusters: 11 KB as JSON, with everything that the scheduler, the kubelet and a service mesh write
// into it.
func ordinary(i int) *corev1.Pod {
	name := fmt.Sprintf("app-%06d-7c9d8b6f5-x2k4q", i)
	began := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, i%86400, 0, time.UTC))
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprintf("team-%03d", i%100), Name: name, GenerateName: name[:len(name)-5],
			UID: types.UID(fmt.Sprintf("7f0c9a52-1d3e-4b8a-9c41-%012d", i)), CreationTimestamp: began, Generation: 1,
			Labels: map[string]string{
				"app.kubernetes.io/name": "app", "app.kubernetes.io/instance": fmt.Sprintf("app-%06d", i), "app.kubernetes.io/version": "4.17.2",
				"app.kubernetes.io/part-of": "storefront", "pod-template-hash": "7c9d8b6f5", "team": fmt.Sprintf("team-%03d", i%100),
			},
			Annotations: map[string]string{
				"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "kubernetes.io/psp": "restricted",
				"cni.projectcalico.org/podIP": "10.2.3.4/32", "checksum/config": strings.Repeat("9f86d081", 8),
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name[:len(name)-6], UID: "5b0f2c3d-92a1-4a69-8f0e-1b2c3d4e5f60", Controller: new(true), BlockOwnerDeletion: new(true)}},
			ManagedFields:   managedFields(began),
		},
		Spec: corev1.PodSpec{
			Containers:     []corev1.Container{ordinaryContainer("app", 24), ordinaryContainer("proxy", 10)},
			InitContainers: []corev1.Container{ordinaryContainer("migrate", 4)},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app-config"}}}},
				{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app-tls"}}},
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "kube-api-access-9xk2p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: new(int32(420)), Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(3607))}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
				}}}},
			},
			ServiceAccountName: "app", NodeName: fmt.Sprintf("ip-10-1-%d-%d.eu-central-1.compute.internal", i/250%250, i%250), RestartPolicy: corev1.RestartPolicyAlways,
			DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler", TerminationGracePeriodSeconds: new(int64(30)), EnableServiceLinks: new(true),
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
				{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
			},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBurstable, HostIP: "10.1.2.3", PodIP: "10.2.3.4", PodIPs: []corev1.PodIP{{IP: "10.2.3.4"}}, StartTime: &began,
			Conditions:            conditions(began),
			ContainerStatuses:     []corev1.ContainerStatus{containerStatus("app", began), containerStatus("proxy", began)},
			InitContainerStatuses: []corev1.ContainerStatus{containerStatus("migrate", began)},
		},
	}
}

func ordinaryContainer(name string, variables int) corev1.Container {
	probe := &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/health", Port: intstr.FromInt32(8080), Scheme: corev1.URISchemeHTTP}},
		PeriodSeconds: 10, TimeoutSeconds: 5, SuccessThreshold: 1, FailureThreshold: 3,
	}
	c := corev1.Container{
		Name: name, Image: "registry.example.org/storefront/" + name + "@sha256:" + strings.Repeat("9f86d081", 8), ImagePullPolicy: corev1.PullIfNotPresent,
		Ports:         []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		LivenessProbe: probe, ReadinessProbe: probe,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		VolumeMounts:           []corev1.VolumeMount{{Name: "config", MountPath: "/etc/app"}, {Name: "tmp", MountPath: "/tmp"}, {Name: "kube-api-access-9xk2p", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	for i := range variables {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("STOREFRONT_SETTING_%02d", i), Value: "https://service.example.org/path"})
	}
	return c
}

func conditions(at metav1.Time) []corev1.PodCondition {
	var all []corev1.PodCondition
	for _, kind := range []corev1.PodConditionType{"PodReadyToStartContainers", corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		all = append(all, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	return all
}

func containerStatus(name string, at metav1.Time) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: name, Ready: true, Started: new(true), Image: "registry.example.org/storefront/" + name + ":4.17.2",
		ImageID: "registry.example.org/storefront/" + name + "@sha256:" + strings.Repeat("9f86d081", 8), ContainerID: "containerd://" + strings.Repeat("5feceb66", 8),
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
	}
}

// managedFields are those of the ReplicaSet controller and of the kubelet, a third of a pod's
// bytes.
func managedFields(at metav1.Time) []metav1.ManagedFieldsEntry {
	field := func(n int) *metav1.FieldsV1 {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"f:setting%02d":{".":{},"f:name":{},"f:value":{}},`, i)
		}
		return metav1.NewFieldsV1(`{"f:spec":{` + strings.TrimSuffix(b.String(), ",") + `}}`)
	}
	return []metav1.ManagedFieldsEntry{
		{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &at, FieldsType: "FieldsV1", FieldsV1: field(24)},
		{Manager: "kubelet", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &at, FieldsType: "FieldsV1", FieldsV1: field(12), Subresource: "status"},
	}
}

// stored is how the API server keeps objects in etcd.
var stored = protobuf.NewSerializer(clientgoscheme.Scheme, clientgoscheme.Scheme)

// perTransaction is how many objects are written at once: below etcd's limits of 128 operations and
// 1.5 MiB.
const perTransaction = 100

// ordinaryInEtcd returns an ordinary pod and its key in etcd.
func ordinaryInEtcd(i int) (string, runtime.Object) {
	pod := ordinary(i)
	return "/registry/pods/" + pod.Namespace + "/" + pod.Name, pod
}

// load puts n objects straight into etcd, through its JSON gateway: tens of thousands would take
// the API server many minutes, and creating pods there could not give them a status. object returns
// one and its key.
func (c *cluster) load(ctx context.Context, n int, object func(i int) (string, runtime.Object)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for first := 0; first < n; first += perTransaction {
		group.Go(func() error { return c.loadSome(ctx, first, min(n, first+perTransaction), object) })
	}
	return group.Wait()
}

func (c *cluster) loadSome(ctx context.Context, from, to int, object func(i int) (string, runtime.Object)) error {
	type put struct {
		RequestPut struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"requestPut"`
	}
	puts := make([]put, to-from)
	for i := range puts {
		key, one := object(from + i)
		value, err := runtime.Encode(stored, one)
		if err != nil {
			return err
		}
		puts[i].RequestPut.Key = base64.StdEncoding.EncodeToString([]byte(key))
		puts[i].RequestPut.Value = base64.StdEncoding.EncodeToString(value)
	}
	body, err := json.Marshal(map[string]any{"success": puts})
	if err != nil {
		return err
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, c.API.ControlPlane.Etcd.URL.String()+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(call)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s to %d objects", answer.Status, len(puts))
	}
	return nil
}
