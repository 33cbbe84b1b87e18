package settings_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kube-aws-iam-controller/cmd/kubectl-aws_iam/settings"
)

func deployment(containers ...corev1.Container) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = "kube-system", "kube-aws-iam-controller"
	d.Spec.Template.Spec.Containers = containers
	return d
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name       string
		containers []corev1.Container
		want       func(s *settings.Settings) bool
		err        string
	}{
		{"no flags", []corev1.Container{{Name: settings.Name}}, func(s *settings.Settings) bool {
			return s.Base.IsZero() && slices.Equal(s.Modes, []string{"RBAC"}) && s.MountPath == "/meta/aws-iam" && !s.LeaderElect && s.Serves("any")
		}, ""},
		{"flags in both forms, and unknown ones", []corev1.Container{{Name: settings.Name, Args: []string{
			"--base-role-arn=arn:aws:iam::123456789012:role/", "--namespace", "a,b", "--namespace=c", "--zap-log-level", "debug", "--leader-elect", "--sts-qps=5",
			"--authorization-mode=Namespace,RBAC", "--seed-secret=kube-system/seed", "--service-account-identity=web-identity",
		}}}, func(s *settings.Settings) bool {
			return s.Base.Account() == "123456789012" && slices.Equal(s.Namespaces, []string{"a", "b", "c"}) && s.Serves("c") && !s.Serves("d") && s.LeaderElect &&
				slices.Equal(s.Modes, []string{"Namespace", "RBAC"}) && s.Seed.String() == "kube-system/seed" && s.WebIdentity
		}, ""},
		{
			"the program as command",
			[]corev1.Container{{Name: settings.Name, Command: []string{"/kube-aws-iam-controller", "--mount-path=/aws"}, Args: []string{"--dry-run-authorization"}}},
			func(s *settings.Settings) bool { return s.MountPath == "/aws" && s.DryRun }, "",
		},
		{
			"behind a sidecar",
			[]corev1.Container{{Name: "proxy", Args: []string{"--mount-path=/proxy"}}, {Name: settings.Name, Args: []string{"--mount-path=/aws"}}},
			func(s *settings.Settings) bool { return s.MountPath == "/aws" }, "",
		},
		{
			"another name of the container",
			[]corev1.Container{{Name: "controller", Args: []string{"--cluster-name=prod"}}},
			func(s *settings.Settings) bool { return s.ClusterName == "prod" }, "",
		},
		{"the seed in the controller's namespace", []corev1.Container{{
			Name: settings.Name, Args: []string{"--seed-secret=$(POD_NAMESPACE)/seed"},
			Env: []corev1.EnvVar{{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}},
		}}, func(s *settings.Settings) bool { return s.Seed.String() == "kube-system/seed" }, ""},
		{"an invalid base", []corev1.Container{{Name: settings.Name, Args: []string{"--base-role-arn=x"}}}, nil, "--base-role-arn"},
		{"an invalid duration", []corev1.Container{{Name: settings.Name, Args: []string{"--refresh-limit=x"}}}, nil, "refresh-limit"},
		{"no container", nil, nil, "has no container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := settings.Of(deployment(c.containers...))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if err != nil || !c.want(&s) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// TestDefault compares the defaults with those that the documentation lists, which another test
// compares with the controller's flags.
func TestDefault(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/reference/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	byDefault := settings.Default()
	for flag, got := range map[string]string{
		"authorization-mode": strings.Join(byDefault.Modes, ","), "mount-path": byDefault.MountPath, "cluster-name": byDefault.ClusterName,
		"refresh-limit": byDefault.RefreshLimit.String(), "service-account-identity": map[bool]string{false: "role"}[byDefault.WebIdentity],
	} {
		row := regexp.MustCompile("(?m)^\\| `--" + flag + "` \\| `([^`]*)` \\|").FindSubmatch(doc)
		if len(row) < 2 || string(row[1]) != got {
			t.Errorf("--%s is %q by default, and documented as %q", flag, got, row)
		}
	}
}

func TestLeaseName(t *testing.T) {
	// The second is what the command in config/rbac/kustomization.yaml prints.
	for want, namespaces := range map[string][]string{
		"kube-aws-iam-controller":          nil,
		"kube-aws-iam-controller-2ff8bcaf": {"payments", "orders", "payments"},
	} {
		s := settings.Settings{Namespaces: namespaces}
		if got := s.LeaseName(); got != want {
			t.Errorf("the Lease of %v is %s, want %s", namespaces, got, want)
		}
	}
}
