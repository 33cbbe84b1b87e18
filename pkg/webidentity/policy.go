package webidentity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"kube-aws-iam-controller/pkg/credentials"
)

const (
	// inForceLife is how long it is believed that the policy is in force, and notInForceLife how
	// long that it is not, or that this is not known. A policy takes the API server seconds.
	inForceLife    = 2 * time.Minute
	notInForceLife = 5 * time.Second
	// probeTimeout bounds one attempt.
	probeTimeout = 10 * time.Second
)

// audienceRule is what the policy says if it refuses a token for its audience. Its first rule that
// does not hold is the one that is quoted, and this rule is the first.
const audienceRule = "creates tokens only for one audience of "

// Policy finds out whether the admission policy is in force that confines what tokens the
// controller can request. It requests a token that the policy refuses: the API server ignores a dry
// run here, so it is one for an audience that no server accepts, of the controller's own
// ServiceAccount. The policy must refuse it for its audience: a policy that refuses it for the
// ServiceAccount alone does not confine the others' tokens. It is safe for concurrent use.
type Policy struct {
	// Name is the name of the policy, and Audience that of the tokens that are requested.
	Name, Audience string
	Accounts       corev1client.ServiceAccountsGetter
	// Self returns the ServiceAccount to try it with: the controller's own, if it is one.
	Self  func(context.Context) (types.NamespacedName, error)
	Clock clock.PassiveClock
	// Observe, if set, is called with each result. unknown is why there is none.
	Observe func(inForce bool, unknown error)

	lock  sync.Mutex
	until time.Time
	last  error
}

// InForce returns nil if the policy is in force, and otherwise why no tokens are requested. It asks
// the API server unless it did a while ago.
func (p *Policy) InForce(ctx context.Context) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	now := p.Clock.Now()
	if now.Before(p.until) {
		return p.last
	}
	inForce, unknown := p.try(ctx)
	if ctx.Err() != nil {
		return p.unknownError(ctx.Err()) // no answer is no result
	}
	life := notInForceLife
	switch {
	case unknown != nil:
		p.last = p.unknownError(unknown)
	case inForce:
		life, p.last = inForceLife, nil
	default:
		p.last = credentials.NewError(credentials.Absent, "PolicyNotInForce", fmt.Sprintf("the controller requests no tokens of ServiceAccounts, as the admission "+
			"policy %s is not in force for it, or does not refuse the audience %s: without the policy the controller could act as every ServiceAccount. "+
			"Install %s, with the name of the controller's ServiceAccount and the audiences of --web-identity-audience in it", p.Name, p.Audience, component))
	}
	p.until = p.Clock.Now().Add(life)
	if p.Observe != nil {
		p.Observe(inForce, unknown)
	}
	return p.last
}

func (p *Policy) unknownError(why error) error {
	return credentials.NewError(credentials.Unavailable, "PolicyUnknown", fmt.Sprintf("the controller requests no tokens of ServiceAccounts, as it cannot find out "+
		"whether the admission policy %s is in force: %v. %s has the policy and the right that this needs", p.Name, why, component))
}

// try requests a token that the policy refuses. The error says why there is no result: a refusal by
// anything but the policy, such as a lack of rights, gives none. A token that is issued is dropped.
func (p *Policy) try(ctx context.Context) (inForce bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	self, err := p.Self(ctx)
	if err != nil {
		return false, err
	}
	_, err = requestToken(ctx, p.Accounts, self, "", p.Audience)
	switch {
	case err == nil:
		return false, nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+p.Name+"' "):
		return strings.Contains(err.Error(), audienceRule), nil
	}
	return false, fmt.Errorf("cannot try it with ServiceAccount %s: %w", self, err)
}
