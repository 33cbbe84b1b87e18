package simulation

// Invariant is the name of a condition that must always hold. Invariants describes it.
type Invariant string

// The invariants.
const (
	ownRoleNeverIssued     Invariant = "own-role-never-issued"
	grantedAtIssue         Invariant = "granted-at-issue"
	denialStopsRenewal     Invariant = "refusal-stops-renewal"
	undecidedTakesNothing  Invariant = "undecided-takes-nothing"
	denialConfirmed        Invariant = "refusal-confirmed"
	requestedNeverDeleted  Invariant = "asked-for-never-deleted"
	deletionsLimited       Invariant = "removals-limited"
	withdrawnShows         Invariant = "withdrawn-within-30s"
	unmanagedUntouched     Invariant = "foreign-untouched"
	writesGuarded          Invariant = "writes-guarded"
	oneSession             Invariant = "one-session-per-secret"
	leastPause             Invariant = "least-pause"
	noStartOnExpired       Invariant = "no-start-on-dead-credentials"
	runningPodNeverExpired Invariant = "running-pod-never-meets-dead"
	unusedKeptForGrace     Invariant = "unused-kept-for-grace"
	servedSoon             Invariant = "new-pod-served-within-30s"
	boundedMemory          Invariant = "bounded-memory"
	requeued               Invariant = "comes-back"
	noHotLoop              Invariant = "no-hot-loop"
	healedEntitled         Invariant = "healed-entitled-have-credentials"
	healedNoneLeft         Invariant = "healed-no-secret-without-consumer"
	healedDeniedHaveEvent  Invariant = "healed-refused-pods-have-event"
	strangersGetNothing    Invariant = "strangers-get-nothing"
	accountsOwnSession     Invariant = "serviceaccounts-own-session"
	withoutRoleKept        Invariant = "without-role-kept"
	noPanic                Invariant = "no-panic"
)

// Invariants lists all invariants with their descriptions.
var Invariants = []struct {
	Name Invariant
	Says string
}{
	{ownRoleNeverIssued, "no request yields the controller's own role"},
	{grantedAtIssue, "credentials are issued only for a right that existed since the reconcile began"},
	{denialStopsRenewal, "after a denial no role is assumed before a review allows it"},
	{undecidedTakesNothing, "valid credentials that are requested are not deleted after an undecided review"},
	{denialConfirmed, "valid credentials are deleted only after a denial that was confirmed after 10 s, or after 5 min if no observed change explains it"},
	{requestedNeverDeleted, "valid credentials with an entitled requester are never deleted without a denial"},
	{deletionsLimited, "deletions for denials: 10 at once, then 1 % of the managed Secrets a minute, at least 10"},
	{withdrawnShows, "a Secret whose right was withdrawn is deleted within 30 s without faults"},
	{unmanagedUntouched, "a Secret without the controller's label, of another controller or a copy is never written or deleted"},
	{writesGuarded, "a Secret is written and deleted only with the resource version that was read, and deleted only with the UID, too"},
	{oneSession, "a Secret holds a session with its own name, of the role in its key role-arn"},
	{leastPause, "one Secret has at most 10 issues in a minute, and 21 in ten"},
	{noStartOnExpired, "a pod never starts with expired credentials"},
	{runningPodNeverExpired, "the credentials of a running pod never expire while outages are shorter than half a session"},
	{unusedKeptForGrace, "an unused Secret is not deleted before the grace period is over"},
	{servedSoon, "a new entitled pod is served within 30 s without faults"},
	{boundedMemory, "memory follows the number of requested Secrets"},
	{requeued, "a key is queued again while its Secret is managed or requested"},
	{noHotLoop, "one key is not reconciled more than 30 times a second"},
	{healedEntitled, "in the end every entitled pod has valid credentials"},
	{healedNoneLeft, "in the end no Secret is left without a consumer"},
	{healedDeniedHaveEvent, "in the end every denied pod has an event that says why"},
	{strangersGetNothing, "the Secret of a ServiceAccount is issued only while a pod of that ServiceAccount asks for it"},
	{accountsOwnSession, "a ServiceAccount's Secret is issued for the role and the UID that it has, and follows a change within 30 s without faults"},
	{withoutRoleKept, "the Secret of a ServiceAccount that asks for no role is not deleted while its credentials live"},
	{noPanic, "nothing panics"},
}
