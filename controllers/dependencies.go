package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kube-aws-iam-controller/pkg/authorization"
	"kube-aws-iam-controller/pkg/credentials"
	"kube-aws-iam-controller/pkg/events"
	"kube-aws-iam-controller/pkg/metrics"
	"kube-aws-iam-controller/pkg/podindex"
	"kube-aws-iam-controller/pkg/renewal"
	"kube-aws-iam-controller/pkg/secret"
	"kube-aws-iam-controller/pkg/seed"
	"kube-aws-iam-controller/pkg/serviceaccounts"
	"kube-aws-iam-controller/pkg/webidentity"
)

// Settings are the flags that matter for what is asked for and what is decided.
type Settings struct {
	Sessions          credentials.SessionTemplate
	RefreshLimit      time.Duration
	UnusedGracePeriod time.Duration
	// Seed is the Secret of the controller's own credentials, which it renews; empty if it has
	// them from elsewhere.
	Seed types.NamespacedName
	// DryRunAuthorization reports what would be refused, and refuses nothing.
	DryRunAuthorization bool
}

// Dependencies are what the reconciler and its event sources read from, write to and ask. The
// manager in cmd/kube-aws-iam-controller/app and the simulation in test/simulation make them.
type Dependencies struct {
	Settings

	// Client reads Secrets and AWSIAMRoles from a cache that has seen its own writes, and writes
	// to the API server.
	Client client.Client
	// Cached reads from the same cache and waits for nothing.
	Cached client.Reader
	// Live reads from the API server itself.
	Live client.Reader
	// Uncached writes to the API server without a cache, for dry runs.
	Uncached client.Writer
	// Pods are those that ask for Secrets.
	Pods *podindex.Index
	// Accounts are the ServiceAccounts that ask for a Secret of their own.
	Accounts *serviceaccounts.Index
	// Authorizer decides who has the right to which role.
	Authorizer authorization.Authorizer
	AWS        credentials.Identities
	// WebIdentity issues the sessions of ServiceAccounts by tokens of their own; nil to assume
	// their roles like all others.
	WebIdentity *webidentity.Issuer
	// SeedSource has the controller's own credentials.
	SeedSource seed.Source
	// ServesRoles is true if the cluster has AWSIAMRoles.
	ServesRoles bool
	// Files are what pods find in a Secret besides credentials.
	Files secret.Files
	// Metrics are where issues and rejections are counted.
	Metrics *metrics.Metrics
	Clocks  renewal.Clocks
	// Events writes events.
	Events *events.Recorder
}
