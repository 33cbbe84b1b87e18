package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	v1 "kube-aws-iam-controller/api/v1"
	"kube-aws-iam-controller/pkg/authorization"
)

// reviewer answers access reviews in place of the API server while it has an answer.
type reviewer struct {
	answer atomic.Pointer[http.Response]
	asked  atomic.Int64
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r *reviewer) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := r.answer.Load()
	if answer == nil || !strings.HasSuffix(request.URL.Path, "/subjectaccessreviews") {
		return r.next.RoundTrip(request)
	}
	r.asked.Add(1)
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	again := *answer
	again.Request, again.Body = request, io.NopCloser(bytes.NewReader(body))
	return &again, nil
}

// says sets the answer to each review, with a status of HTTP; nil has the API server answer.
func (r *reviewer) says(code int, body any) {
	text, _ := json.Marshal(body) //nolint:errchkjson // objects of the API
	r.answer.Store(&http.Response{
		StatusCode: code, Status: strconv.Itoa(code), Header: http.Header{"Content-Type": {"application/json"}},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: repeatable(text),
	})
}

func (r *reviewer) answerWith(status authorizationv1.SubjectAccessReviewStatus) {
	r.says(http.StatusCreated, authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}, Status: status,
	})
}

// repeatable is a body that can be read by many.
type repeatable []byte

// Read implements io.Reader.
func (b repeatable) Read(p []byte) (int, error) { return copy(p, b), io.EOF }

// Close implements io.Closer.
func (repeatable) Close() error { return nil }

// reviewed is the controller's user whose access reviews are answered by a reviewer.
func reviewed() (*rest.Config, *reviewer) {
	r := &reviewer{}
	cfg := rest.CopyConfig(asController)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { r.next = next; return r })
	return cfg, r
}

const manySecrets = 40

// issueManySecrets has a controller write the Secrets of many pods, and stops it.
func issueManySecrets(w *testEnv) {
	w.t.Helper()
	stop := w.start(modes(authorization.ModeRBAC))
	for i := range manySecrets {
		name := fmt.Sprintf("role-%d", i)
		w.grant(name, serviceAccount(w.namespace, "shop"))
		w.pod(name, role(name), as("shop"))
	}
	for i := range manySecrets {
		w.wait(fmt.Sprintf("aws-iam-role-%d", i))
	}
	stop()
}

// What a review does not decide takes nothing away, and gives nothing new, also right after a
// start.
func TestReviews_UndecidedDeleteNothing(t *testing.T) {
	overloaded := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Message: "too many requests", Reason: metav1.StatusReasonTooManyRequests, Code: http.StatusTooManyRequests}
	broken := overloaded
	broken.Message, broken.Reason, broken.Code = "etcd is away", metav1.StatusReasonInternalError, http.StatusInternalServerError
	for name, answer := range map[string]func(*reviewer){
		"evaluationError": func(r *reviewer) {
			r.answerWith(authorizationv1.SubjectAccessReviewStatus{EvaluationError: "webhook: context deadline exceeded"})
		},
		"429": func(r *reviewer) { r.says(http.StatusTooManyRequests, overloaded) },
		"500": func(r *reviewer) { r.says(http.StatusInternalServerError, broken) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			issueManySecrets(w)
			deleted := w.countDeletions()
			cfg, reviews := reviewed()
			answer(reviews)
			calls := assumed(w.sts, "*")
			w.startAs(cfg, modes(authorization.ModeRBAC))
			w.pod("new", role("role-0"), mounting("aws-iam-new", "/new"), as("shop"))
			w.grant("new", serviceAccount(w.namespace, "shop"))
			w.event("Warning AuthorizationUnknown new:", "shop may assume role")
			w.eventually("every Secret asked about, and the new one again", func() bool { return reviews.asked.Load() > manySecrets+3 })
			w.eventually("the metric", func() bool { return w.metric("access_reviews_undecided_total") >= manySecrets })
			if n := deleted(); n > 0 || assumed(w.sts, "*") != calls || w.secret("aws-iam-new") != nil {
				t.Errorf("%d deleted, %d calls of STS", n, assumed(w.sts, "*")-calls)
			}
			reviews.answer.Store(nil)
			w.wait("aws-iam-new")
			if n := deleted(); n > 0 {
				t.Errorf("%d deleted afterwards", n)
			}
		})
	}
}

// An API server that has just started refuses what it does not know yet. Without a change that
// was seen, such a refusal takes nothing away for minutes.
func TestReviews_UnexplainedRefusalsDeleteNothing(t *testing.T) {
	w := newTestEnv(t)
	issueManySecrets(w)
	deleted := w.countDeletions()
	cfg, reviews := reviewed()
	reviews.answerWith(authorizationv1.SubjectAccessReviewStatus{Reason: "RBAC is not ready"})
	calls := assumed(w.sts, "*")
	w.startAs(cfg, modes(authorization.ModeRBAC))
	w.eventually("every Secret asked about twice", func() bool { return reviews.asked.Load() >= 4*manySecrets }) // by name and ARN
	if n := deleted(); n > 0 || assumed(w.sts, "*") != calls {
		t.Errorf("%d deleted, %d calls of STS", n, assumed(w.sts, "*")-calls)
	}
	reviews.answer.Store(nil)
	w.pod("new", role("role-0"), mounting("aws-iam-new", "/new"), as("shop"))
	w.grant("new", serviceAccount(w.namespace, "shop"))
	w.wait("aws-iam-new")
	for i := range manySecrets {
		if !w.isGood(w.secret(fmt.Sprintf("aws-iam-role-%d", i))) {
			t.Errorf("Secret %d is not good", i)
		}
	}
}

// One mistake in RBAC does not empty a namespace at once: deletions for refusals are limited.
func TestReviews_DeletionsAreLimited(t *testing.T) {
	w := newTestEnv(t)
	issueManySecrets(w)
	deleted := w.countDeletions()
	cfg, reviews := reviewed()
	w.startAs(cfg, modes(authorization.ModeRBAC))
	w.pod("new", role("new"), as("shop"))
	w.grant("new", serviceAccount(w.namespace, "shop"))
	w.wait("aws-iam-new")
	reviews.answerWith(authorizationv1.SubjectAccessReviewStatus{Reason: "no"})
	w.grant("unrelated", serviceAccount(w.namespace, "other")) // a change that could be the cause
	w.eventually("the burst", func() bool { return deleted() >= 10 })
	w.eventually("the others wait", func() bool { return w.metric("secrets_removal_delayed") >= manySecrets-13 })
	w.event("Warning RemovalDelayed role-", "will be deleted")
	if n := deleted(); n > 13 {
		t.Errorf("%d deleted within seconds", n)
	}
	reviews.answer.Store(nil)
	w.grant("another", serviceAccount(w.namespace, "other"))
	w.eventually("nothing waits any longer", func() bool { return w.metric("secrets_removal_delayed") == 0 })
	w.eventually("all there again", func() bool {
		for i := range manySecrets {
			if !w.isGood(w.secret(fmt.Sprintf("aws-iam-role-%d", i))) {
				return false
			}
		}
		return true
	})
}

// A pod whose right was withdrawn reads on what it shares with another that has the right. It
// gets an event, and is counted.
func TestReviews_PodWithoutRightIsReported(t *testing.T) {
	w := newTestEnv(t)
	w.grant("orders", serviceAccount(w.namespace, "a"))
	binding := w.grant("orders", serviceAccount(w.namespace, "b"))
	w.start(modes(authorization.ModeRBAC))
	w.pod("a", role("orders"), as("a"))
	w.pod("b", role("orders"), as("b"))
	before := w.wait("aws-iam-orders")
	w.must(w.Delete(t.Context(), binding))
	w.event("Warning RoleForbidden b:", "still reads Secret", "b may not assume role orders")
	w.eventually("the metric", func() bool { return w.metric("pods_without_right") == 1 })
	if now := w.secret("aws-iam-orders"); now == nil || accessKey(now) != accessKey(before) {
		t.Error("the Secret of the allowed pod was written")
	}
	w.deletePod("b")
	w.eventually("the metric without it", func() bool { return w.metric("pods_without_right") == 0 })
}

// An AWSIAMRole asks for all ServiceAccounts of its namespace. If only one of them is allowed the
// role, the Secret stays that of the pods.
func TestReviews_RefusedAWSIAMRoleLeavesTheSecretToPods(t *testing.T) {
	w := newTestEnv(t)
	w.grant("orders", serviceAccount(w.namespace, "orders"))
	w.start(modes(authorization.ModeRBAC))
	w.pod("app", role("orders"), as("orders"))
	s := w.wait("aws-iam-orders")
	w.awsIAMRole("aws-iam-orders", "orders")
	w.condition("aws-iam-orders", v1.ConditionReady, metav1.ConditionFalse, v1.ReasonRoleForbidden, "system:serviceaccounts:"+w.namespace)
	w.condition("aws-iam-orders", v1.ConditionAuthorized, metav1.ConditionFalse, v1.ReasonRoleForbidden)
	w.checkUnchanged(s)
	w.must(w.Delete(t.Context(), s))
	if now := w.wait("aws-iam-orders"); len(now.OwnerReferences) != 0 || now.Labels["type"] != "" {
		t.Errorf("the new one is the AWSIAMRole's: %v", now.OwnerReferences)
	}
}

// An AWSIAMRole that is changed to a denied role keeps the credentials of its old one only until
// that is denied, too.
func TestReviews_ChangedRoleDoesNotProlongTheOldOne(t *testing.T) {
	w := newTestEnv(t)
	binding := w.grant("orders", everyServiceAccount(w.namespace))
	w.start(modes(authorization.ModeRBAC))
	r := w.awsIAMRole("app", "orders")
	w.wait("app")
	w.patch(r, `{"spec":{"roleReference":"not-mine"}}`)
	w.condition("app", v1.ConditionAuthorized, metav1.ConditionFalse, v1.ReasonRoleForbidden, "not-mine")
	if !w.isGood(w.secret("app")) {
		t.Fatal("the credentials of the allowed role are gone")
	}
	w.must(w.Delete(t.Context(), binding))
	w.waitGone("app")
}

func TestAWSIAMRole_ReportsReplacedRoleOnPods(t *testing.T) {
	w := newTestEnv(t)
	w.start()
	w.awsIAMRole("aws-iam-java-example", "aws-iam-example")
	w.pod("app", role("java-example"))
	s := w.wait("aws-iam-java-example")
	if got := string(s.Data["role-arn"]); got != "arn:aws:iam::"+account+":role/aws-iam-example" {
		t.Errorf("it is for %s", got)
	}
	w.event("Warning RoleReplaced app:", `asks for role "java-example"`, "aws-iam-example")
}
