package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	ststest "kube-aws-iam-controller/test/sts"
)

// remoteKustomization returns a kustomization.yaml that deploys the controller on a remote cluster:
// resources is the path of the local node's kustomization, relative to its folder.
func (o *remoteOptions) remoteKustomization(resources, stsURL string) ([]byte, error) {
	name, tag, err := splitImage(o.image)
	if err != nil {
		return nil, err
	}
	image := map[string]string{"name": controllerName, "newName": name}
	if strings.HasPrefix(tag, "@") {
		image["digest"] = tag[1:]
	} else {
		image["newTag"] = tag[1:]
	}
	const container = "/spec/template/spec/containers/0/"
	patch, err := yaml.Marshal([]map[string]string{
		{"op": "replace", "path": container + "imagePullPolicy", "value": "IfNotPresent"},
		// The last of its arguments counts.
		{"op": "add", "path": container + "args/-", "value": "--refresh-limit=" + (o.session / 2).String()},
	})
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1",
		"kind":       "Kustomization",
		"resources":  []string{resources},
		"images":     []any{image},
		"configMapGenerator": []any{map[string]any{
			"name": controllerName + "-aws", "namespace": kubeSystem, "behavior": "merge",
			"literals": []string{"AWS_ENDPOINT_URL_STS=" + stsURL},
		}},
		"patches": []any{map[string]any{"target": map[string]string{"kind": "Deployment", "name": controllerName}, "patch": string(patch)}},
	})
}

// splitImage splits an image into its name, and its tag with ":" or digest with "@".
func splitImage(image string) (name, tag string, err error) {
	if name, digest, ok := strings.Cut(image, "@"); ok {
		return name, "@" + digest, nil
	}
	colon := strings.LastIndex(image, ":")
	if colon <= strings.LastIndex(image, "/") {
		return "", "", fmt.Errorf("image %s has no tag", image)
	}
	return image[:colon], image[colon:], nil
}

// writeManifests writes the kustomization into a new folder, and returns the folder. Kustomize
// takes relative paths only.
func (o *remoteOptions) writeManifests(folder, local, stsURL string) error {
	resources, err := filepath.Rel(folder, local)
	if err != nil {
		return err
	}
	text, err := o.remoteKustomization(resources, stsURL)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "kustomization.yaml"), text, 0o600)
}

// remoteProgram returns the program of an image.
func remoteProgram(image string) program {
	return program{
		name: "sdk", title: image, version: "-", image: image, command: []string{programPath + "/run"}, env: defaultEnv, asks: byVolume,
	}
}

// kubeletDelay is how long a kubelet takes at the most, by default, to bring a changed Secret into
// a pod: it syncs every minute, give or take half, and its watch can be as late.
const kubeletDelay = 90 * time.Second

// deliveredBy reports whether a Secret with this session is in every pod that mounts it.
func deliveredBy(session *ststest.Session, now time.Time) bool {
	return session.AccessKeyID != "" && now.Sub(session.Issued) > kubeletDelay
}

// outputLines returns the lines of a pod's merged output that a program of test/sdk prints for
// calls.
func outputLines(text string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "failed") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
