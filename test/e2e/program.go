package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// stsVariable names the STS that SDKs call.
	stsVariable = "AWS_ENDPOINT_URL_STS"
)

// defaultEnv is what docs/sdk-configuration.md says that most SDKs need.
var defaultEnv = []string{"AWS_SHARED_CREDENTIALS_FILE=" + mountPath + "/credentials.process"}

// images are those of the pods of a cluster: with sh and cat, and with no program at all.
type images struct{ toolbox, bare string }

// program uses an AWS SDK: it calls AWS every second, until it is killed, and prints a line for
// each call. The build.sh of a folder of test/sdk builds it, into another folder:
//
//	run      what the pod runs
//	sdk      the SDK's name and version, a line each
//	env      what docs/sdk-configuration.md says that the SDK needs, if that is not defaultEnv
//	mounts   what else the pod needs of this machine: folders, one a line
//	command  what a pod without a shell runs, an argument a line
//	needs    what else such a pod needs of this machine: files and folders, one a line
//	from     file or endpoint, if the SDK cannot get credentials from both
type program struct {
	// name is that of the folder, with endpointSuffix if its pods use the endpoint.
	name    string
	title   string
	version string
	// image is the pod's. It has the program, unless folder does.
	image   string
	folder  string
	command []string
	env     []string
	mounts  []string
	// asks is how its pods ask for their role. With endpoint they get its credentials from the
	// credentials endpoint, and else from the files of the Secret.
	asks     asking
	endpoint bool
}

// endpointSuffix ends the names of programs whose pods use the credentials endpoint.
const endpointSuffix = "-endpoint"

// readProgram reads what a build.sh has made: as a program that reads files, as one that uses the
// endpoint, or both.
func readProgram(folders, name string, from images) ([]program, error) {
	p := program{name: name, image: from.toolbox, command: []string{programPath + "/run"}}
	var err error
	if p.folder, err = filepath.EvalSymlinks(filepath.Join(folders, name)); err != nil {
		return nil, err
	}
	if p.folder, err = filepath.Abs(p.folder); err != nil {
		return nil, err
	}
	lines := map[string][]string{}
	for _, file := range []string{"sdk", "env", "mounts", "command", "needs", "from"} {
		if lines[file], err = readLines(filepath.Join(p.folder, file)); err != nil {
			return nil, err
		}
	}
	about := lines["sdk"]
	if len(about) != 2 {
		return nil, fmt.Errorf("the file sdk of test/sdk/%s has not two lines: name and version", name)
	}
	p.title, p.version, p.mounts = about[0], about[1], lines["mounts"]

	e := p
	e.name, e.endpoint = p.name+endpointSuffix, true
	if command := lines["command"]; len(command) > 0 {
		e.image, e.command, e.mounts = from.bare, command, lines["needs"]
	}
	e.asks = askings.of(e.name)
	if p.env = lines["env"]; len(p.env) == 0 {
		p.env = defaultEnv
	}
	p.asks = askings.of(p.name)
	switch strings.Join(lines["from"], " ") {
	case "":
		return []program{p, e}, nil
	case "file":
		return []program{p}, nil
	case "endpoint":
		return []program{e}, nil
	}
	return nil, fmt.Errorf("the file from of test/sdk/%s has %q, not file or endpoint", name, lines["from"])
}

// readPrograms reads every program of a folder.
func readPrograms(folder string, from images) (found []program, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		programs, err := readProgram(folder, entry.Name(), from)
		if err != nil {
			return nil, err
		}
		found = append(found, programs...)
	}
	return found, nil
}

// file returns which of the Secret's files the SDK reads, "" if it uses the endpoint.
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

// pod returns a pod that runs the program with the role of a Secret, without any rights. If it is
// the Secret of a ServiceAccount, that is the pod's.
func (p *program) pod(name, secret, stsURL string) *corev1.Pod {
	volumes, mounts := p.volumes()
	account, ofAccount := strings.CutPrefix(secret, accountPrefix)
	if !ofAccount {
		account = ""
	}
	pod := &corev1.Pod{
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
				Command: p.command, VolumeMounts: mounts,
				Env: []corev1.EnvVar{{Name: stsVariable, Value: stsURL}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			Volumes: volumes,
		},
	}
	p.ask(pod, secret)
	return pod
}

// volumes returns those of the program and of what it needs, where these are of the machine.
func (p *program) volumes() (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
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
		add("machine-"+strconv.Itoa(i), path, path)
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
