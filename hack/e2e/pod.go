//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-aws-iam-controller/hack/sandbox"
)

const (
	mountPath = "/meta/aws-iam"
	// container is the name of every pod's only container.
	container = "app"
	// programPath is where a pod has its program.
	programPath = "/sdk"
)

// sdk is a program that asks STS every second who it is, as long as it runs, and prints a line for each call. It is made by the build.sh of
// a folder of test/sdk, which fills another folder:
//
//	run     what the pod runs
//	sdk     the SDK's name and version, a line each
//	env     what docs/sdk-configuration.md says that the SDK wants, if that is not what it says for almost all
//	mounts  what else the pod needs of this machine: folders, one a line
type sdk struct {
	name    string // of the folder
	title   string
	version string
	folder  string
	env     []string
	mounts  []string
}

// readSDK takes in what a build.sh has made.
func readSDK(folders, name string) (s sdk, err error) {
	s.name = name
	if s.folder, err = filepath.EvalSymlinks(filepath.Join(folders, name)); err != nil {
		return s, err
	}
	if s.folder, err = filepath.Abs(s.folder); err != nil {
		return s, err
	}
	about, err := lines(filepath.Join(s.folder, "sdk"))
	if err != nil || len(about) != 2 {
		return s, errors.Join(err, fmt.Errorf("test/sdk/%s does not tell its name and version", name))
	}
	s.title, s.version = about[0], about[1]
	var envErr, mountsErr error
	s.env, envErr = lines(filepath.Join(s.folder, "env"))
	s.mounts, mountsErr = lines(filepath.Join(s.folder, "mounts"))
	if len(s.env) == 0 {
		s.env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + mountPath + "/credentials.process"}
	}
	return s, errors.Join(envErr, mountsErr)
}

// readSDKs takes in every program of a folder.
func readSDKs(folder string) (found []sdk, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		s, err := readSDK(folder, entry.Name())
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, nil
}

// file is which of the Secret's files the SDK reads.
func (s *sdk) file() string {
	for _, line := range s.env {
		if _, file, ok := strings.Cut(line, "="+mountPath+"/"); ok {
			return file
		}
	}
	return ""
}

// lines are those of a file, none if there is no file.
func lines(path string) (found []string, err error) {
	file, err := os.Open(path) //nolint:gosec // one of ours
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			found = append(found, line)
		}
	}
	return found, errors.Join(scanner.Err(), file.Close())
}

// pod runs the program on the files of a Secret, as docs/sdk-configuration.md says, and with the rights of a pod that may do nothing.
func (s *sdk) pod(name, secret, endpoint string) *corev1.Pod {
	env := []corev1.EnvVar{
		{Name: "AWS_REGION", Value: sandbox.Region},
		{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"},
		{Name: "AWS_ENDPOINT_URL_STS", Value: endpoint},
	}
	for _, line := range s.env {
		variable, value, _ := strings.Cut(line, "=")
		env = append(env, corev1.EnvVar{Name: variable, Value: value})
	}
	volumes := []corev1.Volume{{Name: "aws-iam", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
	mounts := []corev1.VolumeMount{{Name: "aws-iam", MountPath: mountPath, ReadOnly: true}}
	add := func(name, from, to string) {
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: from}}})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: to, ReadOnly: true})
	}
	add("sdk", s.folder, programPath)
	for i, path := range s.mounts {
		add("machine-"+string(rune('a'+i)), path, path)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			EnableServiceLinks:           new(false),
			RestartPolicy:                corev1.RestartPolicyNever, // one process, through every rotation
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: container, Image: toolbox, ImagePullPolicy: corev1.PullNever, Command: []string{programPath + "/run"}, Env: env, VolumeMounts: mounts,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			Volumes: volumes,
		},
	}
}
