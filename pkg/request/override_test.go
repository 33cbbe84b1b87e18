package request_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/pkg/request"
)

// set sets environment variables of a container, each written as NAME=value.
func set(all ...string) containerOption {
	return func(c *corev1.Container) {
		for _, v := range all {
			name, value, _ := strings.Cut(v, "=")
			c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
		}
	}
}

// fromField sets a variable from a field of the pod.
func fromField(name string) containerOption {
	return func(c *corev1.Container) {
		c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}})
	}
}

// injected is what injection adds to a container.
func injected(c *corev1.Container) {
	mount("v", mountPath)(c)
	set("AWS_SHARED_CREDENTIALS_FILE="+mountPath+"/credentials.process", "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=eu-central-1")(c)
}

// served is what injection adds with delivery endpoint.
func served(c *corev1.Container) {
	mount("v", mountPath)(c)
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9912/", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+mountPath+"/endpoint-token")(c)
}

func TestFromPod_CredentialsOverridden(t *testing.T) {
	// What EKS's webhook adds for IAM roles for service accounts, and for Pod Identity.
	irsa := set("AWS_STS_REGIONAL_ENDPOINTS=regional", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/app", "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
	podIdentity := set("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token")
	file := func(value string) containerOption {
		return func(c *corev1.Container) {
			mount("v", mountPath)(c)
			set("AWS_SHARED_CREDENTIALS_FILE=" + value)(c)
		}
	}
	const skipWebhook = "skip-pod-identity-webhook"
	for _, c := range []struct {
		name    string
		changes []containerOption
		want    []string // in the note; none if there is no warning
	}{
		{"injected", []containerOption{injected}, nil},
		{"served by the endpoint", []containerOption{served}, nil},
		{"the web identity of EKS", []containerOption{injected, irsa}, []string{"Python, Go, Java", "JavaScript, Rust and C++ the one of Secret", skipWebhook}},
		{"the web identity of EKS, and the endpoint", []containerOption{served, irsa}, []string{"every SDK uses that role", skipWebhook}},
		{"EKS Pod Identity", []containerOption{injected, podIdentity}, []string{"version 2 of the JavaScript SDK", skipWebhook}},
		{"EKS Pod Identity without a file", []containerOption{mount("v", mountPath), podIdentity}, []string{"SDKs use that endpoint", skipWebhook}},
		{"a role without a token", []containerOption{injected, set("AWS_ROLE_ARN=x")}, nil},
		{"keys", []containerOption{injected, set("AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y")}, []string{"AWS_ACCESS_KEY_ID: every SDK uses these keys"}},
		{"keys from elsewhere", []containerOption{injected, fromField("AWS_ACCESS_KEY_ID")}, []string{"AWS_ACCESS_KEY_ID"}},
		{"empty keys", []containerOption{injected, set("AWS_ACCESS_KEY_ID=")}, nil},
		{"keys that are emptied again", []containerOption{injected, set("AWS_ACCESS_KEY_ID=x", "AWS_ACCESS_KEY_ID=")}, nil},
		{"a profile", []containerOption{injected, set("AWS_PROFILE=prod")}, []string{"AWS_PROFILE", "no profile but default"}},
		{"a profile from elsewhere", []containerOption{injected, fromField("AWS_PROFILE")}, []string{"AWS_PROFILE"}},
		{"the profile default", []containerOption{injected, set("AWS_PROFILE=default")}, nil},
		{"a file elsewhere", []containerOption{file("/root/.aws/credentials")}, []string{"a file outside of Secret"}},
		{"a file in a folder of a similar name", []containerOption{file(mountPath + "-other/credentials")}, []string{"a file outside of Secret"}},
		{"another file of the Secret", []containerOption{file(mountPath + "//credentials")}, nil},
		{"a file from elsewhere", []containerOption{mount("v", mountPath), fromField("AWS_SHARED_CREDENTIALS_FILE")}, nil},
		{"a file that is mounted alone", []containerOption{mount("v", mountPath), subPath("v", "/aws/credentials"), set("AWS_SHARED_CREDENTIALS_FILE=/aws/credentials")}, nil},
		{"the file and the endpoint", []containerOption{served, set("AWS_SHARED_CREDENTIALS_FILE=" + mountPath + "/credentials.process")}, []string{"sets both", "sh and cat"}},
		{"an endpoint of its own", []containerOption{mount("v", mountPath), set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x")}, []string{"SDKs use that endpoint"}},
		{"all, but no mount", []containerOption{irsa, podIdentity, set("AWS_ACCESS_KEY_ID=x", "AWS_PROFILE=prod")}, nil},
		{"all", []containerOption{injected, irsa, podIdentity, set("AWS_ACCESS_KEY_ID=x", "AWS_PROFILE=prod")}, []string{"AWS_ACCESS_KEY_ID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []func(string, ...containerOption) podOption{container, initContainer} {
				p := pod(volume("v", "aws-iam-app"), kind("app", c.changes...), container("aws-iam-endpoint", served, irsa))
				wantNote(t, p, request.CredentialsOverridden, c.want)
			}
		})
	}
}

// wantNote requires one warning of a reason whose note has all words, or none if there are none,
// also of the reduced pod.
func wantNote(t *testing.T, p *corev1.Pod, reason string, words []string) {
	t.Helper()
	for range 2 {
		var notes []string
		for _, r := range request.FromPod(p, mountPath) {
			for _, w := range r.WarningsFor(request.Request{}, mountPath) {
				if w.Reason == reason {
					notes = append(notes, w.Note)
				}
			}
		}
		switch {
		case len(words) == 0 && len(notes) == 0:
		case len(words) == 0 || len(notes) != 1:
			t.Errorf("the notes are %q", notes)
		default:
			for _, word := range append(words, "aws-iam-app") {
				if !strings.Contains(notes[0], word) {
					t.Errorf("the note is %q, without %q", notes[0], word)
				}
			}
		}
		request.ReducePod(p)
	}
}

func TestFromPod_AnnotationIgnored(t *testing.T) {
	for annotation, value := range map[string]string{"iam.amazonaws.com/external-id": "x", "iam.amazonaws.com/session-name": "y"} {
		p := pod(volume("v", "aws-iam-app"), container("c", injected), func(p *corev1.Pod) { p.Annotations = map[string]string{annotation: value} })
		wantNote(t, p, request.AnnotationIgnored, []string{annotation, "no effect"})
	}
	p := pod(volume("v", "aws-iam-app"), container("c", injected), func(p *corev1.Pod) {
		p.Annotations = map[string]string{"iam.amazonaws.com/external-id": "", request.RoleAnnotation: "app"}
	})
	wantNote(t, p, request.AnnotationIgnored, nil)
	if request.HasRequests(pod(func(p *corev1.Pod) { p.Annotations = map[string]string{"iam.amazonaws.com/external-id": "x"} })) {
		t.Error("the annotation alone asks for something")
	}
}

// On Windows, there is one warning, and no other one with advice that does not help there.
func TestFromPod_Windows(t *testing.T) {
	p := pod(optional(volume("v", "aws-iam-app")), container("c", mount("v", "/elsewhere"), env("aws-iam-app"), set("AWS_PROFILE=prod")), func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
	})
	wantNote(t, p, request.WindowsNotSupported, []string{"cat", "runs on Windows"})
	if requests := request.FromPod(p, mountPath); len(requests) != 1 || len(requests[0].WarningsFor(request.Request{}, mountPath)) != 1 || requests[0].Validate() != nil {
		t.Errorf("the requests are %+v", requests)
	}
}
