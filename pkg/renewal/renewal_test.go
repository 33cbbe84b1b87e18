package renewal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/renewal"
)

var issued = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func lasting(d time.Duration) renewal.Lifetime {
	return renewal.Lifetime{Issued: issued, Expires: issued.Add(d)}
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		name        string
		life, limit time.Duration
		jitter      float64
		want        time.Duration // after the issue
	}{
		{"an hour, with the default limit", time.Hour, 30 * time.Minute, 0, 15 * time.Minute},
		{"a limit below half the lifetime has no effect", time.Hour, 10 * time.Minute, 0, 15 * time.Minute},
		{"no limit", time.Hour, 0, 0, 15 * time.Minute},
		{"a limit above half the lifetime", time.Hour, 40 * time.Minute, 0, 10 * time.Minute},
		{"a limit of three quarters", time.Hour, 45 * time.Minute, 0, 7*time.Minute + 30*time.Second},
		{"a limit above three quarters is reduced", time.Hour, 50 * time.Minute, 0, 7*time.Minute + 30*time.Second},
		{"a limit of the lifetime is reduced", time.Hour, time.Hour, 0, 7*time.Minute + 30*time.Second},
		{"a limit far above the lifetime is reduced", time.Hour, 12 * time.Hour, 0, 7*time.Minute + 30*time.Second},
		{"fifteen minutes, with the default limit", 15 * time.Minute, 30 * time.Minute, 0, time.Minute + 52500*time.Millisecond},
		{"twelve hours, with the default limit", 12 * time.Hour, 30 * time.Minute, 0, 3 * time.Hour},
		{"half jitter", time.Hour, 30 * time.Minute, 0.5, 11*time.Minute + 15*time.Second},
		{"full jitter", time.Hour, 30 * time.Minute, 1, 7*time.Minute + 30*time.Second},
		{"fully jitter, with a limit that is cut", time.Hour, time.Hour, 1, 3*time.Minute + 45*time.Second},
		{"a lifetime of zero is due at once", 0, 30 * time.Minute, 0.5, 0},
		{"a negative lifetime is due at once", -time.Hour, 30 * time.Minute, 0.5, 0},
		{"a negative limit", time.Hour, -30 * time.Minute, 0, 15 * time.Minute},
		{"eight nanoseconds", 8, 30 * time.Minute, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lasting(c.life).Due(c.limit, c.jitter).Sub(issued); got != c.want {
				t.Errorf("due after %s, want %s", got, c.want)
			}
		})
	}
}

func TestDue_RandomLifetimes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // G404: cases of a test
	for range 20_000 {
		life := time.Duration(random.Int64N(int64(13 * time.Hour)))
		limit := time.Duration(random.Int64N(int64(14*time.Hour))) - time.Hour
		jitter := random.Float64()
		l := lasting(life)
		due, last := l.Due(limit, jitter), l.Due(limit, 0)

		what := fmt.Sprintf("life %s, limit %s, jitter %v: due after %s, at the latest %s", life, limit, jitter, due.Sub(issued), last.Sub(issued))
		left := l.Expires.Sub(last.Add(last.Sub(issued))) // when renewal has been tried for as long as it took to be due
		switch {
		case due.Before(issued), due.After(last):
			t.Fatalf("out of order: %s", what)
		case left < life/2:
			t.Fatalf("less than half the life would be left: %s", what)
		case limit <= life/4*3 && left < limit:
			t.Fatalf("less than the limit would be left: %s", what)
		case left > max(life/2, limit)+2:
			t.Fatalf("earlier than half life and limit ask for: %s", what)
		case last.Sub(issued) < life/8:
			t.Fatalf("in the first eighth without jitter: %s", what)
		case due.Sub(issued) < last.Sub(issued)/2:
			t.Fatalf("more than half of the time as jitter: %s", what)
		case l.Urgent(due.Add(life / 2)):
			t.Fatalf("urgent after an outage of half a session: %s", what)
		}
	}
}

// More jitter always gives an earlier time.
func TestDue_MoreJitterIsEarlier(t *testing.T) {
	l := lasting(time.Hour)
	for i := range 100 {
		if a, b := l.Due(0, float64(i)/100), l.Due(0, float64(i+1)/100); !b.Before(a) {
			t.Fatalf("jitter %d%%: %s, one more: %s", i, a, b)
		}
	}
}

func TestUrgent(t *testing.T) {
	for _, c := range []struct {
		name    string
		life    time.Duration
		elapsed time.Duration
		want    bool
	}{
		{"just issued", time.Hour, 0, false},
		{"half of the lifetime", time.Hour, 30 * time.Minute, false},
		{"three quarters", time.Hour, 45 * time.Minute, false},
		{"more than three quarters", time.Hour, 45*time.Minute + 1, true},
		{"expired", time.Hour, 2 * time.Hour, true},
		{"a lifetime of zero, at its end", 0, 0, false},
		{"a lifetime of zero, after its end", 0, 1, true},
		{"a negative lifetime", -time.Hour, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lasting(c.life).Urgent(issued.Add(c.elapsed)); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

func TestJitter_IsDeterministic(t *testing.T) {
	l := lasting(time.Hour)
	elsewhere := renewal.Lifetime{Issued: l.Issued, Expires: l.Expires.In(time.FixedZone("CET", 3600))}
	first := renewal.Jitter("payments/aws-iam-app", l)
	for _, c := range []struct {
		name string
		got  float64
		same bool
	}{
		{"called again", renewal.Jitter("payments/aws-iam-app", l), true},
		{"in another time zone", renewal.Jitter("payments/aws-iam-app", elsewhere), true},
		{"another Secret", renewal.Jitter("payments/aws-iam-app2", l), false},
		{"another namespace", renewal.Jitter("payment/aws-iam-app", l), false},
		{"another lifetime", renewal.Jitter("payments/aws-iam-app", lasting(time.Hour+time.Second)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if (c.got == first) != c.same {
				t.Errorf("got %v and at first %v", c.got, first)
			}
		})
	}
}

// Pearson's chi-squared test of ten thousand Secrets over a hundred equal parts. A uniform
// distribution exceeds 148.2 in one of a thousand cases; the names are fixed, so the test is
// deterministic.
func TestJitter_IsUniform(t *testing.T) {
	const secrets, parts = 10_000, 100
	for _, c := range []struct {
		name   string
		secret func(n int) string
		life   func(n int) renewal.Lifetime
	}{
		{"many Secrets of one moment", func(n int) string { return fmt.Sprintf("team-%d/aws-iam-app", n) }, func(int) renewal.Lifetime { return lasting(time.Hour) }},
		{"one Secret over time", func(int) string { return "payments/aws-iam-app" }, func(n int) renewal.Lifetime { return lasting(time.Duration(n) * time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var counts [parts]int
			for n := range secrets {
				jitter := renewal.Jitter(c.secret(n), c.life(n))
				if jitter < 0 || jitter >= 1 {
					t.Fatalf("%s: %v is not from 0 up to 1", c.secret(n), jitter)
				}
				counts[int(jitter*parts)]++
			}
			const expected = float64(secrets) / parts
			var chiSquared float64
			for _, count := range counts {
				chiSquared += (float64(count) - expected) * (float64(count) - expected) / expected
			}
			if chiSquared > 148.2 {
				t.Errorf("chi-squared is %.1f for %v", chiSquared, counts)
			}
		})
	}
}
