//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// toolbox is the image of all pods but the controller's own, and of their sandboxes.
const toolbox = "localhost/toolbox:1"

const containerdConfig = `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + toolbox + `"
restrict_oom_score_adj = true # where the machine itself is a container, it may not be lowered
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
      "ranges": [[{"subnet": "` + pods + `", "gateway": "` + nodeAddress + `"}]], "routes": [{"dst": "0.0.0.0/0"}]
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
	kubeletDir = dir + "/kubelet"
)

// writeConfigs writes what the daemons read.
func (c *cluster) writeConfigs() error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "containerd.toml"), []byte("root = \""+dir+"/containerd\"\n"+strings.TrimLeft(containerdConfig, "\n")), 0o600),
		os.MkdirAll(filepath.Join(dir, "cni"), 0o700),
		os.WriteFile(filepath.Join(dir, "cni", "10-pods.conflist"), []byte(cniConfig), 0o600),
		c.writeKubeletConfig(""),
	)
}

// writeKubeletConfig writes the kubelet's settings, with some more.
func (c *cluster) writeKubeletConfig(more string) error {
	return os.WriteFile(filepath.Join(dir, "kubelet.yaml"), []byte(strings.Replace(kubeletConfig, "CGROUP", c.cgroup, 1)+more), 0o600)
}
