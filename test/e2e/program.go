package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"kube-aws-iam-controller/test/env"
)

const (
	mountPath = "/meta/aws-iam"
	// volumeName is the pods' volume with the Secret.
	volumeName = "aws-iam"
	// secretPrefix and a role's name are the name of the Secret that asks for the role.
	secretPrefix = "aws-iam-"
	// accountPrefix and a ServiceAccount's name are the name of the Secret of that ServiceAccount,
	// whose annotation names the role.
	accountPrefix = "aws-iam."
	// containerName is the name of every pod's only container.
	containerName = "app"
	// programPath is where a pod has its program.
	programPath = "/sdk"
)

// accountPrograms are the programs whose pods use the Secret of their ServiceAccount, which has the
// name of its role, with the web identity of that ServiceAccount. namespace.yaml creates these
// ServiceAccounts. The programs are of SDKs that cache credentials each in its own way.
var accountPrograms = sets.New("boto3", "go-v2", "js-v3")

// defaultEnv is what docs/sdk-configuration.md says that most SDKs need.
var defaultEnv = []string{"AWS_SHARED_CREDENTIALS_FILE=" + mountPath + "/credentials.process"}

// program uses an AWS SDK: it calls STS's GetCallerIdentity every second, until it is killed, and
// prints a line for each call. The build.sh of a folder of test/sdk builds it, into another folder:
//
//	run     what the pod runs
//	sdk     the SDK's name and version, a line each
//	env     what docs/sdk-configuration.md says that the SDK needs, if that is not defaultEnv
//	mounts  what else the pod needs of this machine: folders, one a line
type program struct {
	name    string // of the folder
	title   string
	version string
	// image is the pod's. It has the program, unless folder does.
	image  string
	folder string
	env    []string
	mounts []string
}

// readProgram reads what a build.sh has made. Its pods run an image without programs.
func readProgram(folders, name, image string) (p program, err error) {
	p.name, p.image = name, image
	if p.folder, err = filepath.EvalSymlinks(filepath.Join(folders, name)); err != nil {
		return p, err
	}
	if p.folder, err = filepath.Abs(p.folder); err != nil {
		return p, err
	}
	about, err := readLines(filepath.Join(p.folder, "sdk"))
	if err != nil || len(about) != 2 {
		return p, errors.Join(err, fmt.Errorf("the file sdk of test/sdk/%s has not two lines: name and version", name))
	}
	p.title, p.version = about[0], about[1]
	var envErr, mountsErr error
	p.env, envErr = readLines(filepath.Join(p.folder, "env"))
	p.mounts, mountsErr = readLines(filepath.Join(p.folder, "mounts"))
	if len(p.env) == 0 {
		p.env = defaultEnv
	}
	return p, errors.Join(envErr, mountsErr)
}

// readPrograms reads every program of a folder.
func readPrograms(folder, image string) (found []program, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		p, err := readProgram(folder, entry.Name(), image)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

// file returns which of the Secret's files the SDK reads.
func (p *program) file() string {
	for _, line := range p.env {
		if _, file, ok := strings.Cut(line, "="+mountPath+"/"); ok {
			return file
		}
	}
	return ""
}

// readLines returns a file's lines that are not empty, none if there is no file.
func readLines(path string) (found []string, err error) {
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

// secret returns the name of the Secret that the program's pod uses for a role.
func (p *program) secret(role string) string {
	if accountPrograms.Has(p.name) {
		return accountPrefix + role
	}
	return secretPrefix + role
}

// pod returns a pod that runs the program on the files of a Secret, as docs/sdk-configuration.md
// says, without any rights. If it is the Secret of a ServiceAccount, that is the pod's.
func (p *program) pod(name, secret, stsURL string) *corev1.Pod {
	variables := []corev1.EnvVar{
		{Name: "AWS_REGION", Value: env.Region},
		{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"},
		{Name: "AWS_ENDPOINT_URL_STS", Value: stsURL},
	}
	for _, line := range p.env {
		variable, value, _ := strings.Cut(line, "=")
		variables = append(variables, corev1.EnvVar{Name: variable, Value: value})
	}
	volumes, mounts := p.volumes(secret)
	account, ofAccount := strings.CutPrefix(secret, accountPrefix)
	if !ofAccount {
		account = ""
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName:           account,
			AutomountServiceAccountToken: new(false),
			EnableServiceLinks:           new(false),
			RestartPolicy:                corev1.RestartPolicyNever, // one process, through every rotation
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: containerName, Image: p.image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{programPath + "/run"}, Env: variables, VolumeMounts: mounts,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			Volumes: volumes,
		},
	}
}

// volumes returns the Secret's volume, and those of the program and what it needs, where these are
// folders of the machine.
func (p *program) volumes(secret string) (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
	volumes = []corev1.Volume{{
		Name: volumeName, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
	}}
	mounts = []corev1.VolumeMount{{Name: volumeName, MountPath: mountPath, ReadOnly: true}}
	add := func(name, from, to string) {
		volumes = append(volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: from}},
		})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: to, ReadOnly: true})
	}
	if p.folder != "" {
		add("sdk", p.folder, programPath)
	}
	for i, path := range p.mounts {
		add("machine-"+string(rune('a'+i)), path, path)
	}
	return volumes, mounts
}

func roleARN(name string) string { return "arn:aws:iam::" + env.Account + ":role/" + name }

// sessionARN returns the ARN of the session of a role in a Secret, which the controller names by
// cluster, namespace and Secret.
func sessionARN(role, secret string) string {
	return "arn:aws:sts::" + env.Account + ":assumed-role/" + role + "/e2e." + namespace + "." + secret
}

// sdkPod is a program in its pod, which has the name of its role.
type sdkPod struct {
	program
	pod *corev1.Pod
	// identities are what the successful calls returned, failures what the others did.
	identities, failures []string
}

// setOutput sets what the program has printed so far.
func (p *sdkPod) setOutput(lines []string) {
	p.identities, p.failures = nil, nil
	for _, line := range lines {
		if arn, ok := strings.CutPrefix(line, "ok "); ok {
			p.identities = append(p.identities, arn)
		} else {
			p.failures = append(p.failures, line)
		}
	}
}

// failure returns an error if a call has failed, if one had another identity than the pod's role,
// or if the program has ended.
func (p *sdkPod) failure() error {
	own := sessionARN(p.pod.Name, p.secret(p.pod.Name))
	other := slices.IndexFunc(p.identities, func(arn string) bool { return arn != own })
	switch {
	case len(p.failures) > 0:
		return fmt.Errorf("%s: %s", p.pod.Name, strings.Join(p.failures, "; "))
	case other >= 0:
		return fmt.Errorf("%s is %s, not %s", p.pod.Name, p.identities[other], own)
	case p.pod.Status.Phase == corev1.PodFailed || p.pod.Status.Phase == corev1.PodSucceeded:
		return fmt.Errorf("%s has ended", p.pod.Name)
	}
	return nil
}

// stdoutLines returns the lines that a container has printed to its standard output, of a log as
// the kubelet keeps it: before each line are its time, its stream, and whether it is whole.
func stdoutLines(log []string) (found []string) {
	for _, line := range log {
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 && fields[1] == "stdout" {
			found = append(found, fields[3])
		}
	}
	return found
}
