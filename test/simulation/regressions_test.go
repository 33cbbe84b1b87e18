package simulation

import "testing"

// failed are seeds that find a bug if its fix is removed, with the invariant that is violated then.
// The actions of a seed change with the generator; after that it is a seed like any other.
var failed = []struct {
	seed uint64
	what Invariant
	why  string
}{
	{3001, ownRoleNeverIssued, "a request for the controller's own role was served"},
	{3001, undecidedTakesNothing, "a review that could not be decided was taken for a refusal"},
	{3001, denialConfirmed, "a refusal that nothing explains was carried out after ten seconds"},
	{5116, denialConfirmed, "an old refusal of the role that a Secret holds, which was allowed since, confirmed a new one"},
	{3077, denialConfirmed, "an old refusal of one ServiceAccount confirmed the first one of another"},
	{3002, withdrawnShows, "a review that was answered as before a change made the refusal after it unexplained, which lasts five minutes"},
	{3005, withdrawnShows, "what was reviewed just after a change was not reviewed again"},
	{3008, withdrawnShows, "an AWSIAMRole that was changed to a refused role kept the role before it, whose right was withdrawn"},
	{3004, deletionsLimited, "refusals emptied a cluster at once"},
	{183, deletionsLimited, "workers that took the time in another order were given the same tokens of the limit twice"},
	{3001, leastPause, "a Secret that another writer changes was issued without pauses"},
	{3004, leastPause, "an immutable Secret cost a session for each attempt to write it"},
	{3001, healedEntitled, "an AWSIAMRole that was refused took the Secret of its name from pods"},
	{3001, unmanagedUntouched, "a copy of a Secret was deleted"},
	{3001, writesGuarded, "a Secret was deleted without preconditions"},
	{1222, requestedNeverDeleted, "a Secret that says no longer when its session began looks dead early"},
	{2272, denialConfirmed, "an AWSIAMRole and pods were refused at the same time"},
}

// TestRegressions runs them again.
func TestRegressions(t *testing.T) {
	for _, f := range failed {
		t.Run(string(f.what), func(t *testing.T) {
			report(t, Run(f.seed, Options{Trace: true}))
		})
	}
}
