package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"kube-aws-iam-controller/controllers"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/webidentity"
)

// The values of --service-account-identity: which identity assumes the role of a ServiceAccount.
const (
	identityRole        = "role"
	identityWebIdentity = "web-identity"
)

const (
	// policyServiceAccountToken is the admission policy of
	// config/components/web-identity-per-serviceaccount.
	policyServiceAccountToken = controllers.Name + "-serviceaccount-token"
	// probeAudience is an audience that no server accepts, and that no policy may allow.
	probeAudience = controllers.Name + "/probe"
	// tokenProbeInterval is how often to find out whether that policy is in force.
	tokenProbeInterval = time.Minute
	// maxAudience is the longest audience of an identity provider in IAM. Source: the API reference
	// of CreateOpenIDConnectProvider.
	maxAudience = 255
)

// webIdentityFlags are the flags of web identity for ServiceAccounts.
type webIdentityFlags struct {
	identity  string
	qps       float64
	audiences []string
}

// addTo adds the flags to those of the program.
func (w *webIdentityFlags) addTo(f *pflag.FlagSet) {
	f.StringVar(&w.identity, "service-account-identity", identityRole, "Who assumes the role of a ServiceAccount: role, the controller itself, "+
		"or web-identity, the ServiceAccount by a token that the controller requests; then AWS decides, by the role's trust policy.")
	f.StringSliceVar(&w.audiences, "web-identity-audience", []string{webidentity.DefaultAudience}, "Audiences that such tokens can be for. "+
		"The first is that of a ServiceAccount without the annotation eks.amazonaws.com/audience.")
	f.Float64Var(&w.qps, "web-identity-qps", 20, "Maximum number of roles assumed per second by such tokens. AWS documents no limit.")
}

// settings returns those of the manager; nil for --service-account-identity=role.
func (w *webIdentityFlags) settings() *WebIdentity {
	if w.identity != identityWebIdentity {
		return nil
	}
	return &WebIdentity{Audiences: w.audiences, QPS: w.qps}
}

// validateWebIdentity checks the flags of web identity.
func (o *options) validateWebIdentity() error {
	w := &o.webIdentity
	if err := among("service-account-identity", []string{w.identity}, []string{identityRole, identityWebIdentity}); err != nil {
		return err
	}
	if !(w.qps > 0 && w.qps <= maxSTSQPS) { // in this form it rejects NaN
		return fmt.Errorf("--web-identity-qps=%v is not more than 0 and at most %d", w.qps, maxSTSQPS)
	}
	if len(w.audiences) == 0 {
		return errors.New("--web-identity-audience is empty: leave it out for " + webidentity.DefaultAudience)
	}
	for _, audience := range w.audiences {
		if problem := audienceProblem(audience); problem != "" {
			return fmt.Errorf("--web-identity-audience=%q %s", audience, problem)
		}
	}
	return nil
}

// audienceProblem returns why tokens for AWS cannot have an audience, or "" if they can.
func audienceProblem(audience string) string {
	switch {
	case audience == "" || len(audience) > maxAudience || strings.ContainsFunc(audience, func(r rune) bool { return r <= ' ' || r > '~' || r == '\'' || r == '"' }):
		return fmt.Sprintf("is not 1 to %d printable characters without spaces and quotes, such as %s", maxAudience, webidentity.DefaultAudience)
	case strings.Contains(audience, "://"):
		return "is a URL, as the API server accepts for itself: the controller could act as every ServiceAccount"
	case audience == probeAudience:
		return "is the one with which the controller tries its admission policy"
	}
	return ""
}

// checkAudiences returns an error if an audience of tokens for AWS is one that the API server
// accepts, as far as the controller's own token says which those are.
func checkAudiences(cfg *rest.Config, audiences []string) error {
	token := cfg.BearerToken
	if token == "" {
		text, _ := os.ReadFile(cfg.BearerTokenFile) // without a token nothing is known
		token = string(text)
	}
	claims, err := credentials.ReadClaims(credentials.Redact(token))
	if err != nil {
		return nil //nolint:nilerr // it is no token of a ServiceAccount, which says nothing
	}
	for _, audience := range audiences {
		if audience == claims.Issuer || slices.Contains(claims.Audiences, audience) {
			return fmt.Errorf("--web-identity-audience=%s is an audience that the API server accepts, as the controller's own token says: "+
				"the controller could act as every ServiceAccount. Use another one, such as %s", audience, webidentity.DefaultAudience)
		}
	}
	return nil
}

// newWebIdentity returns what issues the sessions of ServiceAccounts, and what finds out whether
// the policy that confines it is in force; nil if the controller assumes their roles itself.
func newWebIdentity(cfg *rest.Config, clientset kubernetes.Interface, o *Options) (*webidentity.Issuer, *webidentity.Policy, error) {
	if o.WebIdentity == nil {
		return nil, nil, nil
	}
	if err := checkAudiences(cfg, o.WebIdentity.Audiences); err != nil {
		return nil, nil, err
	}
	policy := &webidentity.Policy{
		Name: policyServiceAccountToken, Audience: probeAudience, Accounts: clientset.CoreV1(), Clock: o.Clock,
		Self: func(ctx context.Context) (types.NamespacedName, error) { return ownServiceAccount(ctx, clientset, o) },
	}
	trial := &webidentity.Trial{Config: cfg, Clock: o.Clock}
	return &webidentity.Issuer{
		Accounts: clientset.CoreV1(), Audiences: o.WebIdentity.Audiences, Confined: policy.InForce, Rejected: trial.Rejected,
		AssumeBy: o.Credentials.WebIdentity(o.WebIdentity.QPS).Assume, AWS: o.Credentials.Identities(),
	}, policy, nil
}

// ownServiceAccount returns the controller's own ServiceAccount. If it is another user, as outside
// of a cluster, it returns one that every namespace has.
func ownServiceAccount(ctx context.Context, clientset kubernetes.Interface, o *Options) (types.NamespacedName, error) {
	review, err := clientset.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return types.NamespacedName{}, fmt.Errorf("cannot ask the API server who the controller is: %w", err)
	}
	if name, ok := strings.CutPrefix(review.Status.UserInfo.Username, "system:serviceaccount:"); ok {
		namespace, name, _ := strings.Cut(name, ":")
		return types.NamespacedName{Namespace: namespace, Name: name}, nil
	}
	return types.NamespacedName{Namespace: o.probeNamespaces()[0], Name: "default"}, nil
}

// tokenProbe finds out again and again, on the replica that leads, whether the policy is in force
// that confines what tokens the controller requests, and logs what has changed.
type tokenProbe struct {
	policy *webidentity.Policy
}

// addTokenProbe adds the probe to a manager, if there is a policy to probe.
func addTokenProbe(m manager.Manager, o *Options, policy *webidentity.Policy, set func(policy string, inForce bool), unset func(policy string)) error {
	if policy == nil {
		return nil
	}
	policy.Observe = tokenObserver(o.Log, policy.Name, set, unset)
	return m.Add(tokenProbe{policy})
}

// tokenObserver returns a function that sets the metric of a policy by each result, and logs what
// has changed.
func tokenObserver(log logr.Logger, policy string, set func(policy string, inForce bool), unset func(policy string)) func(inForce bool, unknown error) {
	log, last := log.WithValues("policy", policy), ""
	return func(inForce bool, unknown error) {
		if unknown == nil {
			set(policy, inForce)
		} else {
			unset(policy)
		}
		now := fmt.Sprint(inForce, unknown)
		if now == last {
			return
		}
		last = now
		switch {
		case unknown != nil:
			log.Error(unknown, "it is not known whether the admission policy is in force, and no tokens of ServiceAccounts are requested")
		case inForce:
			log.Info("admission policy is in force")
		default:
			log.Error(nil, "admission policy is not in force for this controller, and no tokens of ServiceAccounts are requested: "+
				"apply config/components/web-identity-per-serviceaccount")
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (tokenProbe) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (p tokenProbe) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) { _ = p.policy.InForce(ctx) }, tokenProbeInterval) // the result is observed
	return nil
}
