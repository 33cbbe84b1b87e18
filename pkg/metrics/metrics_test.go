package metrics_test

import (
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"kube-aws-iam-controller/pkg/metrics"
)

func TestCounters(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry)
	m.STS("AssumeRole", "OK", 30*time.Millisecond)
	m.STS("AssumeRole", "OK", 2*time.Second)
	m.STS("AssumeRole", "AccessDenied", time.Second)
	m.STS("GetCallerIdentity", "OK", time.Minute)
	m.Refused("RoleForbidden")
	m.Refused("RoleForbidden")
	m.Refused("GetCredentialsFailed")

	wantExposed(t, registry, []string{
		`# TYPE kube_aws_iam_controller_refused_total counter`,
		`kube_aws_iam_controller_refused_total{reason="GetCredentialsFailed"} 1`,
		`kube_aws_iam_controller_refused_total{reason="RoleForbidden"} 2`,
		`# TYPE kube_aws_iam_controller_sts_requests_total counter`,
		`kube_aws_iam_controller_sts_requests_total{code="AccessDenied",operation="AssumeRole"} 1`,
		`kube_aws_iam_controller_sts_requests_total{code="OK",operation="AssumeRole"} 2`,
		`kube_aws_iam_controller_sts_requests_total{code="OK",operation="GetCallerIdentity"} 1`,
	}, "kube_aws_iam_controller_refused_total", "kube_aws_iam_controller_sts_requests_total")
}

// An endpoint can answer with another code each time.
func TestSTS_UnknownCodesAreOneSeries(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry)
	for i := range 1000 {
		m.STS("CreateSession", "Invented"+strconv.Itoa(i), time.Second)
	}
	for _, code := range []string{"", "other", "accessdenied", "Access\nDenied", strings.Repeat("A", 10_000), "ThrottlingException", "BadAnswer", "NoAnswer"} {
		m.STS("CreateSession", code, time.Second)
	}
	const name = "kube_aws_iam_controller_sts_requests_total"
	wantExposed(t, registry, []string{
		"# TYPE " + name + " counter",
		name + `{code="BadAnswer",operation="CreateSession"} 1`,
		name + `{code="NoAnswer",operation="CreateSession"} 1`,
		name + `{code="Other",operation="CreateSession"} 1005`,
		name + `{code="ThrottlingException",operation="CreateSession"} 1`,
	}, name)
}

func TestDurations(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry)
	m.Issued("new", 20*time.Millisecond)
	m.Issued("refresh", time.Minute)
	m.Issued("restored", -time.Minute) // the clock was corrected meanwhile
	m.STS("AssumeRole", "OK", 30*time.Millisecond)
	m.STS("AssumeRole", "Throttling", 7*time.Second)

	exposed := expose(t, registry)
	for _, want := range []string{
		`kube_aws_iam_controller_issue_duration_seconds_bucket{reason="new",le="0.01"} 0`,
		`kube_aws_iam_controller_issue_duration_seconds_bucket{reason="new",le="0.025"} 1`,
		`kube_aws_iam_controller_issue_duration_seconds_bucket{reason="refresh",le="60"} 1`,
		`kube_aws_iam_controller_issue_duration_seconds_count{reason="new"} 1`,
		`kube_aws_iam_controller_issue_duration_seconds_sum{reason="new"} 0.02`,
		`kube_aws_iam_controller_issue_duration_seconds_sum{reason="refresh"} 60`,
		`kube_aws_iam_controller_issue_duration_seconds_sum{reason="restored"} 0`,
		`kube_aws_iam_controller_sts_request_duration_seconds_bucket{operation="AssumeRole",le="0.05"} 1`,
		`kube_aws_iam_controller_sts_request_duration_seconds_count{operation="AssumeRole"} 2`,
		`kube_aws_iam_controller_sts_request_duration_seconds_sum{operation="AssumeRole"} 7.03`,
	} {
		if !slices.Contains(exposed, want) {
			t.Errorf("%s is missing in\n%s", want, strings.Join(exposed, "\n"))
		}
	}
}

func TestRegisterSecrets_ReadsAtEachScrape(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var secrets []metrics.Secret
	m := metrics.New(registry)
	if err := m.RegisterSecrets(func() iter.Seq[metrics.Secret] { return slices.Values(secrets) }); err != nil {
		t.Fatal(err)
	}
	names := []string{"kube_aws_iam_controller_credentials_expiration_timestamp_seconds", "kube_aws_iam_controller_secrets"}
	expires := time.Unix(1795219200, 999_999_999)

	wantExposed(t, registry, nil, names...)

	secrets = []metrics.Secret{
		{Namespace: "payments", Name: "aws-iam-app", Source: "Pod", Expires: expires},
		{Namespace: "orders", Name: "aws-iam-app", Source: "Pod", Expires: expires.Add(time.Hour)},
		{Namespace: "orders", Name: "reports", Source: "AWSIAMRole", Expires: expires},
		{Namespace: "orders", Name: "aws-iam-broken", Source: "Pod"},
		{Namespace: "orders", Name: "aws-iam.app", Source: "ServiceAccount"},
	}
	wantExposed(t, registry, []string{
		`# TYPE kube_aws_iam_controller_credentials_expiration_timestamp_seconds gauge`,
		`kube_aws_iam_controller_credentials_expiration_timestamp_seconds{namespace="orders",secret="aws-iam-app"} 1.7952228e+09`,
		`kube_aws_iam_controller_credentials_expiration_timestamp_seconds{namespace="orders",secret="reports"} 1.7952192e+09`,
		`kube_aws_iam_controller_credentials_expiration_timestamp_seconds{namespace="payments",secret="aws-iam-app"} 1.7952192e+09`,
		`# TYPE kube_aws_iam_controller_secrets gauge`,
		`kube_aws_iam_controller_secrets{source="AWSIAMRole"} 1`,
		`kube_aws_iam_controller_secrets{source="Pod"} 3`,
		`kube_aws_iam_controller_secrets{source="ServiceAccount"} 1`,
	}, names...)

	secrets = secrets[:1]
	wantExposed(t, registry, []string{
		`# TYPE kube_aws_iam_controller_credentials_expiration_timestamp_seconds gauge`,
		`kube_aws_iam_controller_credentials_expiration_timestamp_seconds{namespace="payments",secret="aws-iam-app"} 1.7952192e+09`,
		`# TYPE kube_aws_iam_controller_secrets gauge`,
		`kube_aws_iam_controller_secrets{source="Pod"} 1`,
	}, names...)

	if err := m.RegisterSecrets(func() iter.Seq[metrics.Secret] { return slices.Values(secrets) }); err == nil {
		t.Error("registered twice: every Secret would count double")
	}
}

func TestRegisterClockOffset_ReadsAtEachScrape(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var ahead time.Duration
	if err := metrics.New(registry).RegisterClockOffset(func() time.Duration { return ahead }); err != nil {
		t.Fatal(err)
	}
	const name = "kube_aws_iam_controller_clock_offset_seconds"
	for _, c := range []struct {
		ahead time.Duration
		value string
	}{{0, "0"}, {7 * time.Minute, "420"}, {-90 * time.Second, "-90"}} {
		ahead = c.ahead
		wantExposed(t, registry, []string{"# TYPE " + name + " gauge", name + " " + c.value}, name)
	}
}

func TestRegisterCertificateExpiry(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var expires time.Time
	if err := metrics.New(registry).RegisterCertificateExpiry(func() time.Time { return expires }); err != nil {
		t.Fatal(err)
	}
	const name = "kube_aws_iam_controller_base_certificate_expiration_timestamp_seconds"
	wantExposed(t, registry, nil, name)
	expires = time.Unix(1795219200, 0)
	wantExposed(t, registry, []string{"# TYPE " + name + " gauge", name + " 1.7952192e+09"}, name)
}

func TestNew_NamesFollowPrometheusConventions(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry)
	m.STS("AssumeRole", "OK", time.Second)
	m.Refused("RoleForbidden")
	m.Issued("new", time.Second)
	if err := m.RegisterSecrets(func() iter.Seq[metrics.Secret] {
		return slices.Values([]metrics.Secret{{Namespace: "payments", Name: "aws-iam-app", Source: "Pod", Expires: time.Unix(1, 0)}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.RegisterClockOffset(func() time.Duration { return 0 }); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("problems: %v, %v", problems, err)
	}
}

// expose returns the lines of a scrape without the help.
func expose(t *testing.T, registry prometheus.Gatherer) []string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(answer.Body.String()), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "# HELP")
	})
}

// wantExposed compares the families whose names begin with one of names.
func wantExposed(t *testing.T, registry prometheus.Gatherer, want []string, names ...string) {
	t.Helper()
	got := slices.DeleteFunc(expose(t, registry), func(line string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(strings.TrimPrefix(line, "# TYPE "), name) })
	})
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
