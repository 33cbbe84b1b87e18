package chart_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	chartcommon "helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// every flag that the chart has no value for: it sets them itself, or they make no sense in a pod.
var own = []string{
	"leader-elect", "metrics-bind-address", "health-probe-bind-address", "seed-secret", "metrics-secure", "kubeconfig", "version",
	"roles-anywhere-trust-anchor-arn", "roles-anywhere-profile-arn", "roles-anywhere-role-arn", "roles-anywhere-certificate-dir",
	"service-account-identity", "web-identity-audience", "external-id-file",
}

// TestFlags checks that the schema takes the program's flags, no more and no fewer.
func TestFlags(t *testing.T) {
	var flags []string
	inSchema := flagsOf(t, readSchema(t))
	usage := string(goRun(t, "-C", "../..", "run", "./cmd/"+name, "--help"))
	for _, found := range regexp.MustCompile(`(?m)^ +--([a-z-]+)`).FindAllStringSubmatch(usage, -1) {
		flags = append(flags, found[1])
		if inSchema[found[1]] == nil && !slices.Contains(own, found[1]) {
			t.Errorf("values.schema.json lacks the program's flag %s", found[1])
		}
	}
	for flag := range inSchema {
		if !slices.Contains(flags, flag) {
			t.Errorf("values.schema.json has flags.%s, and the program has not", flag)
		}
		if slices.Contains(own, flag) {
			t.Errorf("values.schema.json has flags.%s, which the chart sets itself", flag)
		}
	}
}

const allFlags = `
flags:
  apiserver: https://10.0.0.1:6443
  assume-role: hub
  authorization-mode: [RBAC, Namespace]
  base-role-arn: arn:aws-cn:iam::123456789012:role/pods
  cluster-name: prod
  debug: true
  dry-run-authorization: true
  external-id: "{cluster}/{namespace}"
  max-concurrent-reconciles: 100000
  mount-path: /meta/aws
  namespace: [payments, orders]
  omit-account-id: true
  refresh-limit: 10m
  secret-annotation: ["example.org/a=b, c", "team=x"]
  session-duration: 1h30m
  session-tags: [eks-cluster-name, kubernetes-namespace, kubernetes-service-account]
  sts-qps: 0.5
  unused-grace-period: 0s
  web-identity-qps: 40
  zap-devel: false
  zap-encoder: console
  zap-log-level: 3
  zap-stacktrace-level: panic
  zap-time-encoding: iso8601
`

// TestFlagsReachTheProgram gives all flags by values, and has the program read the arguments that
// come of it.
func TestFlagsReachTheProgram(t *testing.T) {
	var args []string
	for _, object := range helm(t, home, read(t, allFlags)) {
		if object.GetKind() == "Deployment" {
			args = argsOf(t, object)
		}
	}
	goRun(t, slices.Concat([]string{"-C", "../..", "run", "./cmd/" + name}, args, []string{"--version"})...)
	for _, arg := range []string{
		"--authorization-mode=RBAC,Namespace", "--debug=true", "--max-concurrent-reconciles=100000", "--sts-qps=0.5",
		"--external-id={cluster}/{namespace}", "--omit-account-id=true", "--secret-annotation=example.org/a=b, c", "--secret-annotation=team=x", "--zap-devel=false", "--zap-log-level=3",
	} {
		if !slices.Contains(args, arg) {
			t.Errorf("%s is not among %q", arg, args)
		}
	}
}

// TestToggles checks what values leave out or put in.
func TestToggles(t *testing.T) {
	const podPolicy, secretPolicy = "ValidatingAdmissionPolicy/kube-aws-iam-controller-pod-role", "ValidatingAdmissionPolicy/kube-aws-iam-controller-secret-label"
	const crd, monitor = "CustomResourceDefinition/awsiamroles.zalando.org", "PodMonitor/" + name
	const ownSecret, token = "ValidatingAdmissionPolicy/kube-aws-iam-controller-serviceaccount-secret", "ValidatingAdmissionPolicy/kube-aws-iam-controller-serviceaccount-token"
	const tokens = "ClusterRoleBinding/kube-aws-iam-controller-serviceaccount-token"
	const injects, rejects = "MutatingAdmissionPolicy/kube-aws-iam-controller-inject-pod", "ValidatingAdmissionPolicyBinding/kube-aws-iam-controller-injected"
	const injectsOwn, rejectsOwn = "MutatingAdmissionPolicy/kube-aws-iam-controller-inject-serviceaccount", rejects + "-serviceaccount"
	const annotates = "MutatingAdmissionPolicy/kube-aws-iam-controller-role-annotated"
	const network, reader = "NetworkPolicy/" + name, "ClusterRole/" + name + "-metrics-reader"
	for _, test := range []struct {
		values        string
		with, without []string
	}{
		{"", []string{podPolicy, secretPolicy, ownSecret, crd}, []string{monitor, network, reader, token, tokens, injects, rejects}},
		{"injection: {enabled: true}", []string{injects, rejects, podPolicy, injectsOwn, rejectsOwn, annotates}, nil},
		{"injection: {enabled: true, serviceAccounts: false}", []string{injects, rejects, podPolicy}, []string{injectsOwn, rejectsOwn, annotates}},
		{"serviceAccountIdentity: web-identity", []string{podPolicy, ownSecret, token, tokens}, nil},
		{"networkPolicy: {enabled: true}", []string{network}, []string{reader}},
		{"metrics: {secure: true}", []string{reader}, []string{network}},
		{"flags: {authorization-mode: [RBAC]}", []string{podPolicy}, nil},
		{"flags: {authorization-mode: [Namespace]}", []string{secretPolicy, ownSecret}, []string{podPolicy}},
		{"flags: {authorization-mode: [RBAC, AlwaysAllow]}", []string{secretPolicy, ownSecret}, []string{podPolicy}},
		{"admission: {pods: false}", []string{secretPolicy, ownSecret}, []string{podPolicy}},
		{"admission: {serviceAccounts: false}", []string{podPolicy, secretPolicy}, []string{ownSecret}},
		{"admission: {secrets: false}", []string{podPolicy}, []string{secretPolicy}},
		{"crd: {install: false}", nil, []string{crd}},
		{"podMonitor: {enabled: true}", []string{monitor}, nil},
	} {
		var has []string
		for _, object := range helm(t, home, read(t, test.values)) {
			has = append(has, object.GetKind()+"/"+object.GetName())
			if object.GetKind() == "CustomResourceDefinition" && object.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
				t.Error("uninstalling the chart deletes the CRD and with it all AWSIAMRoles")
			}
		}
		for _, object := range test.with {
			if !slices.Contains(has, object) {
				t.Errorf("%q has no %s", test.values, object)
			}
		}
		for _, object := range test.without {
			if slices.Contains(has, object) {
				t.Errorf("%q has %s", test.values, object)
			}
		}
	}
}

// TestLease checks that the controller has the right to the Lease that it will ask for, as
// controllers/lease.go names it, and no other.
func TestLease(t *testing.T) {
	for values, lease := range map[string]string{
		"": name,
		"flags: {namespace: [payments, orders, payments, kube-system]}": fmt.Sprintf("%s-%.4x", name, sha256.Sum256([]byte("kube-system,orders,payments"))),
	} {
		var named []any
		for _, object := range helm(t, home, read(t, values)) {
			if object.GetKind() != "Role" || object.GetName() != name {
				continue
			}
			rules, _, err := unstructured.NestedSlice(object.Object, "rules")
			if err != nil {
				t.Fatal(err)
			}
			for _, each := range rules {
				rule, _ := each.(map[string]any)
				names, _ := rule["resourceNames"].([]any)
				named = append(named, names...)
			}
		}
		if !slices.Equal(named, []any{lease}) {
			t.Errorf("%q: it may take %q and not %q", values, named, lease)
		}
	}
}

// TestPodValues checks that what values say of the pod is in the Deployment.
func TestPodValues(t *testing.T) {
	said := map[string]any{}
	for _, object := range helm(t, home, read(t, `
image: {repository: registry.example.org/it, tag: v1, digest: "sha256:`+strings.Repeat("0a", 32)+`", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
replicas: 1
resources: {limits: {memory: 1Gi}}
goMemLimit: 900MiB
priorityClassName: mine
nodeSelector: {kubernetes.io/os: null, disk: ssd}
tolerations: [{key: mine, operator: Exists}]
affinity: {nodeAffinity: {}}
podLabels: {team: us, application: theirs, iam.amazonaws.com/inject: "true"}
podAnnotations: {note: this, prometheus.io/port: "1"}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/mine"}}
ports: {metrics: 9100, health: 9101}
aws: {identity: seed}
serviceAccountIdentity: web-identity
flags: {mount-path: /meta/aws, namespace: [kube-system]}
`)) {
		said[object.GetKind()] = object.Object
	}
	for path, want := range map[string]string{
		"Deployment spec replicas":                                         "1",
		"Deployment spec template metadata labels":                         `{"application":"kube-aws-iam-controller","iam.amazonaws.com/inject":"false","team":"us"}`,
		"Deployment spec template metadata annotations note":               `"this"`,
		"Deployment spec template metadata annotations prometheus.io/port": `"9100"`,
		"Deployment spec template spec imagePullSecrets":                   `[{"name":"registry"}]`,
		"Deployment spec template spec priorityClassName":                  `"mine"`,
		"Deployment spec template spec nodeSelector":                       `{"disk":"ssd"}`,
		"Deployment spec template spec tolerations":                        `[{"key":"mine","operator":"Exists"}]`,
		"Deployment spec template spec affinity":                           `{"nodeAffinity":{}}`,
		"Deployment spec template spec containers 0 image":                 `"registry.example.org/it@sha256:` + strings.Repeat("0a", 32) + `"`,
		"Deployment spec template spec containers 0 imagePullPolicy":       `"Always"`,
		"Deployment spec template spec containers 0 args": `["--leader-elect","--metrics-bind-address=:9100","--health-probe-bind-address=:9101",` +
			`"--seed-secret=$(POD_NAMESPACE)/aws-iam-kube-aws-iam-controller","--service-account-identity=web-identity","--mount-path=/meta/aws","--namespace=kube-system"]`,
		"Deployment spec template spec containers 0 env 3":            `{"name":"GOMEMLIMIT","value":"900MiB"}`,
		"Deployment spec template spec containers 0 ports":            `[{"containerPort":9100,"name":"metrics"},{"containerPort":9101,"name":"health"}]`,
		"Deployment spec template spec containers 0 resources limits": `{"memory":"1Gi"}`,
		"Deployment spec template spec containers 0 volumeMounts":     `[{"mountPath":"/meta/aws","name":"seed","readOnly":true}]`,
		"ServiceAccount metadata annotations":                         `{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/mine"}`,
	} {
		var at any = said
		for step := range strings.FieldsSeq(path) {
			switch here := at.(type) {
			case map[string]any:
				at = here[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil {
					t.Fatal(err)
				}
				at = here[i]
			}
		}
		if got, err := json.Marshal(at); err != nil || string(got) != want {
			t.Errorf("%s is %s and not %s", path, got, want)
		}
	}
}

// TestBadValues checks that helm reports mistakes, with their place, before a pod fails.
func TestBadValues(t *testing.T) {
	for values, place := range map[string]string{
		"identity: seed":                                                               "identity",
		"aws: {identity: irsa}":                                                        "/aws/identity",
		"aws: {identity: seed-awsiamrole}":                                             "/aws/identity",
		"aws: {identity: seed, seedSecret: Seed}":                                      "/aws/seedSecret",
		"{aws: {identity: instance-role}, networkPolicy: {enabled: true}}":             "node's network",
		"aws: {identity: web-identity}":                                                "/aws/roleARN",
		"aws: {identity: seed, roleARN: 'arn:aws:iam::123456789012:role/r'}":           "/aws/roleARN",
		"aws: {identity: web-identity, roleARN: 'arn:aws:iam::1234:role/r'}":           "/aws/roleARN",
		"aws: {identity: web-identity, roleARN: 'arn:aws:iam::123456789012:user/r'}":   "/aws/roleARN",
		"aws: {identity: roles-anywhere, roleARN: 'arn:aws:iam::123456789012:role/r'}": "/aws/rolesAnywhere/",
		"aws: {rolesAnywhere: {trustAnchorARN: 'arn:aws:iam::123456789012:role/r'}}":   "/aws/rolesAnywhere/trustAnchorARN",
		"aws: {region: Frankfurt}":                                                     "/aws/region",
		"aws: {env: {aws-region: x}}":                                                  "aws-region",
		"aws: {env: {AWS_MAX_ATTEMPTS: 3}}":                                            "/aws/env/AWS_MAX_ATTEMPTS",
		"aws: {baseRoleARN: x}":                                                        "baseRoleARN",
		"flags: {base-role-arn: orders}":                                               "/flags/base-role-arn",
		"flags: {base-role-arn: \"arn:aws:iam::123456789012:role/' + 'x\"}":            "/flags/base-role-arn",
		"flags: {baseRoleARN: x}":                                                      "baseRoleARN",
		"flags: {leader-elect: false}":                                                 "leader-elect",
		"flags: {seed-secret: a/b}":                                                    "seed-secret",
		"flags: {session-duration: 3600}":                                              "/flags/session-duration",
		"flags: {authorization-mode: RBAC}":                                            "/flags/authorization-mode",
		"flags: {authorization-mode: [ABAC]}":                                          "/flags/authorization-mode",
		"flags: {authorization-mode: []}":                                              "/flags/authorization-mode",
		"flags: {namespace: [Payments]}":                                               "/flags/namespace",
		"flags: {external-id: '{cluster} it'}":                                         "/flags/external-id",
		"flags: {debug: 'yes'}":                                                        "/flags/debug",
		"flags: {sts-qps: 0}":                                                          "/flags/sts-qps",
		"image: {tag: 'a b'}":                                                          "/image/tag",
		"image: {digest: latest}":                                                      "/image/digest",
		"image: {pullPolicy: Sometimes}":                                               "/image/pullPolicy",
		"replicas: '2'":                                                                "/replicas",
		"ports: {metrics: 80000}":                                                      "/ports/metrics",
		"podLabels: {a: 1}":                                                            "/podLabels/a",
		"resources: {limit: {}}":                                                       "limit",
		"{aws: {identity: seed}, flags: {namespace: [payments]}}":                      "flags.namespace must contain kube-system",
		"injection: true":                                                              "/injection",
		"injection: {region: Frankfurt}":                                               "/injection/region",
		"injection: {runAsUser: -1}":                                                   "/injection/runAsUser",
		"injection: {runAsUser: root}":                                                 "/injection/runAsUser",
		"admission: true":                                                              "/admission",
		"externalIDs: [{roles: orders, id: xy}]":                                       "/externalIDs/0/roles",
		"externalIDs: [{roles: 'arn:aws:iam::1:role/a', id: x y}]":                     "/externalIDs/0/id",
		"aws: {proxy: {url: proxy}}":                                                   "/aws/proxy/url",
		"aws: {caBundle: {configMap: A}}":                                              "/aws/caBundle/configMap",
		"admission: {action: Audit}":                                                   "/admission/action",
		"admission: {ignoredSecrets: [tls]}":                                           "/admission/ignoredSecrets/0",
		"admission: {ignoredSecrets: [\"aws-iam-x', 'y\"]}":                            "/admission/ignoredSecrets/0",
		"serviceAccountIdentity: irsa":                                                 "/serviceAccountIdentity",
		"webIdentityAudiences: sts.amazonaws.com":                                      "/webIdentityAudiences",
		"webIdentityAudiences: []":                                                     "/webIdentityAudiences",
		"webIdentityAudiences: ['https://kubernetes.default.svc.cluster.local']":       "/webIdentityAudiences/0",
		"webIdentityAudiences: [\"x', 'y\"]":                                           "/webIdentityAudiences/0",
	} {
		_, err := template(t, home, read(t, values))
		if err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("%s is not refused for %s: %v", values, place, err)
		}
	}
}

// TestExternalIDs checks that the program reads them.
func TestExternalIDs(t *testing.T) {
	values := "externalIDs: [{roles: 'arn:aws:iam::111111111111:role/*', id: vendor-one:42}, {roles: 'arn:aws:iam::222222222222:role/a?', id: two}]"
	for _, object := range helm(t, home, read(t, values)) {
		switch object.GetKind() + "/" + object.GetName() {
		case "ConfigMap/" + name + "-external-ids":
			lines, _, err := unstructured.NestedString(object.Object, "data", "external-ids")
			if want := "arn:aws:iam::111111111111:role/* vendor-one:42\narn:aws:iam::222222222222:role/a? two\n"; lines != want || err != nil {
				t.Errorf("the file has %q: %v", lines, err)
			}
		case "Deployment/" + name:
			text, err := json.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{`"--external-id-file=/etc/external-ids/external-ids"`, `"mountPath":"/etc/external-ids"`, `"name":"kube-aws-iam-controller-external-ids"`, `"checksum/external-ids"`} {
				if !strings.Contains(string(text), part) {
					t.Errorf("the Deployment lacks %s", part)
				}
			}
		}
	}
}

// TestProxy checks that STS is reached through a proxy, and the API server is not.
func TestProxy(t *testing.T) {
	values := "aws: {identity: seed, proxy: {url: 'http://proxy.example.org:3128', except: [.internal]}, caBundle: {configMap: company-ca}}"
	for _, object := range helm(t, home, read(t, values)) {
		if object.GetKind() != "Deployment" {
			continue
		}
		text, err := json.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{
			`{"name":"HTTPS_PROXY","value":"http://proxy.example.org:3128"}`, `{"name":"NO_PROXY","value":"kubernetes.default.svc,$(KUBERNETES_SERVICE_HOST),.internal"}`,
			`{"name":"AWS_CA_BUNDLE","value":"/etc/ca-bundle/ca.crt"}`, `{"mountPath":"/etc/ca-bundle","name":"ca-bundle","readOnly":true}`,
			`{"configMap":{"name":"company-ca"},"name":"ca-bundle"}`, `{"mountPath":"/meta/aws-iam","name":"seed","readOnly":true}`,
		} {
			if !strings.Contains(string(text), part) {
				t.Errorf("the Deployment lacks %s", part)
			}
		}
	}
}

// TestSecurityContext checks that the users can be left to the namespace, as OpenShift requires.
func TestSecurityContext(t *testing.T) {
	for _, object := range helm(t, home, read(t, "podSecurityContext: {runAsUser: null, runAsGroup: null}")) {
		if object.GetKind() != "Deployment" {
			continue
		}
		got, _, err := unstructured.NestedMap(object.Object, "spec", "template", "spec", "securityContext")
		if err != nil {
			t.Fatal(err)
		}
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, []string{"runAsNonRoot", "seccompProfile"}) {
			t.Errorf("the pod's security context is %v", got)
		}
	}
}

// TestAdmissionValues checks what the policies for pods do, and which Secrets they ignore.
func TestAdmissionValues(t *testing.T) {
	actions, ignored := map[string]int{}, map[string]int{}
	for _, object := range helm(t, home, read(t, "admission: {action: Warn, ignoredSecrets: [aws-iam-user, legacy/aws-iam.export]}")) {
		if !strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy") {
			continue
		}
		if list, _, _ := unstructured.NestedStringSlice(object.Object, "spec", "validationActions"); len(list) > 0 {
			actions[strings.Join(list, ",")]++
		}
		variables, _, _ := unstructured.NestedSlice(object.Object, "spec", "variables")
		for _, v := range variables {
			if v, _ := v.(map[string]any); v["name"] == "ignored" {
				ignored[fmt.Sprint(v["expression"])]++
			}
		}
	}
	if want := map[string]int{"['aws-iam-user', 'legacy/aws-iam.export']": 3}; !maps.Equal(ignored, want) {
		t.Errorf("the ignored Secrets are %v", ignored)
	}
	if actions["Warn,Audit"] != 2 || actions["Deny"] < 4 {
		t.Errorf("the actions are %v", actions)
	}
}

// TestInjectionNeedsItsKinds checks that injection is skipped where the API server has no
// MutatingAdmissionPolicies, policies that reject included, and that the notes say so.
func TestInjectionNeedsItsKinds(t *testing.T) {
	chart, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	release := chartcommon.ReleaseOptions{Name: "release", Namespace: home}
	for _, c := range []struct {
		values         string
		capabilities   *chartcommon.Capabilities
		installs, says bool
	}{
		{"", nil, false, false},
		{"injection: {enabled: true}", nil, false, true},
		{"", capabilities(), false, false},
		{"injection: {enabled: true}", capabilities(), true, false},
	} {
		merged, err := util.ToRenderValues(chart, read(t, c.values), release, c.capabilities)
		if err != nil {
			t.Fatal(err)
		}
		files, err := engine.Render(chart, merged)
		if err != nil {
			t.Fatal(err)
		}
		templates := name + "/templates/"
		if installs := len(decode(t, []byte(files[templates+"injection.yaml"]))) > 0; installs != c.installs {
			t.Errorf("%q on %v: installed: %v", c.values, c.capabilities, installs)
		}
		if says := strings.Contains(files[templates+"NOTES.txt"], "INJECTION IS NOT INSTALLED"); says != c.says {
			t.Errorf("%q on %v: the notes are\n%s", c.values, c.capabilities, files[templates+"NOTES.txt"])
		}
	}
}

// read reads values as a user writes them.
func read(t *testing.T, text string) map[string]any {
	t.Helper()
	values, err := chartcommon.ReadValues([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return values
}

// argsOf are the controller's arguments.
func argsOf(t *testing.T, deployment *unstructured.Unstructured) []string {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatal(err)
	}
	container, _ := containers[0].(map[string]any)
	args, _, err := unstructured.NestedStringSlice(container, "args")
	if err != nil {
		t.Fatal(err)
	}
	return args
}
