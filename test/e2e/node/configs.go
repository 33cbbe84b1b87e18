//go:build linux

package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The images of all pods but the controller's own.
const (
	// Toolbox has sh and cat. It is the image of sandboxes, too.
	Toolbox = "localhost/toolbox:1"
	// Bare has no program at all, as distroless images have none but their own.
	Bare = "localhost/bare:1"
)

const containerdConfig = `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + Toolbox + `"
restrict_oom_score_adj = true # it cannot be lowered where the machine itself is a container
disable_apparmor = true # a profile would stay in the kernel
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "` + dir + `/cni"
[plugins."io.containerd.internal.v1.opt"]
path = "` + dir + `/opt"
`

const cniConfig = `{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "` + dir + `/addresses",
      "ranges": [[{"subnet": "` + PodRange + `", "gateway": "` + Address + `"}]], "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}`

const kubeletConfig = `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://` + containerdSocket + `
cgroupDriver: cgroupfs
cgroupRoot: CGROUP
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
address: 127.0.0.1
healthzPort: 0
readOnlyPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
resolvConf: ""
registerNode: true
maxPods: 600
podLogsDir: ` + podLogs + `
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
volumePluginDir: ` + dir + `/volume-plugins
`

const (
	// podLogs is where the output of containers goes.
	podLogs = "/var/log/pods"
	// kubeletDir is where the kubelet has the volumes of pods.
	kubeletDir        = dir + "/kubelet"
	kubeletConfigFile = dir + "/kubelet.yaml"
)

// PodLogs returns the folder with the output of all containers.
func PodLogs() string { return podLogs }

// PodLog returns the file that has the output of a pod's only container, up to its first restart.
func PodLog(pod *corev1.Pod) string {
	return filepath.Join(podLogs, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID), pod.Spec.Containers[0].Name, "0.log")
}

// SecretFile returns the file in which a pod sees a key of a Secret that it mounts as a volume.
func SecretFile(pod *corev1.Pod, volume, key string) string {
	return filepath.Join(kubeletDir, "pods", string(pod.UID), "volumes", "kubernetes.io~secret", volume, key)
}

// writeConfigs writes the files that the daemons read.
func writeConfigs() error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "containerd.toml"),
			[]byte("root = \""+dir+"/containerd\"\n"+strings.TrimLeft(containerdConfig, "\n")), 0o600),
		os.MkdirAll(filepath.Join(dir, "cni"), 0o700),
		os.WriteFile(filepath.Join(dir, "cni", "10-pods.conflist"), []byte(cniConfig), 0o600),
		writeKubeletConfig(""),
	)
}

// writeKubeletConfig writes the kubelet's settings, with more of them at the end.
func writeKubeletConfig(more string) error {
	config := strings.Replace(kubeletConfig, "CGROUP", "/"+os.Getenv(cgroupVariable), 1)
	return os.WriteFile(kubeletConfigFile, []byte(config+more), 0o600) //nolint:gosec // its path is constant
}
