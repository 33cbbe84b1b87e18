package simulation

// Invariant is one thing that must always hold, by its name. What it says is in Invariants.
type Invariant string

// The invariants.
const (
	ownRoleNeverIssued    Invariant = "own-role-never-issued"
	grantedAtIssue        Invariant = "granted-at-issue"
	refusalStopsRenewal   Invariant = "refusal-stops-renewal"
	undecidedTakesNothing Invariant = "undecided-takes-nothing"
	refusalConfirmed      Invariant = "refusal-confirmed"
	askedForNeverDeleted  Invariant = "asked-for-never-deleted"
	removalsLimited       Invariant = "removals-limited"
	withdrawnShows        Invariant = "withdrawn-within-30s"
	foreignUntouched      Invariant = "foreign-untouched"
	writesGuarded         Invariant = "writes-guarded"
	oneSession            Invariant = "one-session-per-secret"
	leastPause            Invariant = "least-pause"
	noStartOnDead         Invariant = "no-start-on-dead-credentials"
	neverMeetsDead        Invariant = "running-pod-never-meets-dead"
	unusedKeptForGrace    Invariant = "unused-kept-for-grace"
	servedSoon            Invariant = "new-pod-served-within-30s"
	boundedMemory         Invariant = "bounded-memory"
	comesBack             Invariant = "comes-back"
	noHotLoop             Invariant = "no-hot-loop"
	healedEntitled        Invariant = "healed-entitled-have-credentials"
	healedNoneLeft        Invariant = "healed-no-secret-without-consumer"
	healedRefusedAreTold  Invariant = "healed-refused-pods-have-event"
	noPanic               Invariant = "no-panic"
)

// Invariants are all of them, with what they say.
var Invariants = []struct {
	Name Invariant
	Says string
}{
	{ownRoleNeverIssued, "no request yields the controller's own role"},
	{grantedAtIssue, "credentials are issued only for a right that there was since it was asked for"},
	{refusalStopsRenewal, "after a refusal no role is assumed before a review allows it"},
	{undecidedTakesNothing, "living credentials that are asked for are not deleted after a review that was undecided"},
	{refusalConfirmed, "living credentials are deleted only for a refusal that was repeated after 10 s, or after 5 min if no change that was seen explains it"},
	{askedForNeverDeleted, "living credentials that an object asks for which may have them are never deleted without a refusal"},
	{removalsLimited, "deletions for refusals: 10 at once, then 1 % of the managed Secrets a minute, at least 10"},
	{withdrawnShows, "a Secret whose right was withdrawn is gone within 30 s while nothing else is wrong"},
	{foreignUntouched, "a Secret without the controller's label, of another controller or a copy is never written or deleted"},
	{writesGuarded, "a Secret is written and deleted only as the one that was judged: by resource version, and deleted by UID, too"},
	{oneSession, "what is written to a Secret is a session of its own name, of the role that it says"},
	{leastPause, "one Secret has at most 10 issues in a minute, and 21 in ten"},
	{noStartOnDead, "a pod never starts on dead credentials"},
	{neverMeetsDead, "a running pod never meets dead credentials while outages last for less than half a session"},
	{unusedKeptForGrace, "an unused Secret is not deleted before the grace period is over"},
	{servedSoon, "a new pod that may have its roles gets them within 30 s while nothing is wrong"},
	{boundedMemory, "what is remembered follows what is asked for"},
	{comesBack, "a reconcile returns a time to come back while there is something to look at"},
	{noHotLoop, "one key is not reconciled more than 30 times a second"},
	{healedEntitled, "in the end every pod that may have its roles has living credentials of them"},
	{healedNoneLeft, "in the end no Secret is left without a consumer"},
	{healedRefusedAreTold, "in the end every pod that may not have a role has an event that says why"},
	{noPanic, "nothing panics"},
}
