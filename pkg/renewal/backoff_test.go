package renewal

import (
	"testing"
	"time"
)

func TestBackoff_PausesGrow(t *testing.T) {
	var b Backoff
	for i, want := range []int{1, 2, 4, 8, 16, 32, 60, 60} { // seconds
		var retryAt time.Time
		retryAt, b = b.After("payments/aws-iam-app", noon, 0)
		least := time.Duration(want) * time.Second
		if pause := retryAt.Sub(noon); pause < least || pause > least+least/5 {
			t.Errorf("pause %d is %s, want %s and up to a fifth more", i, pause, least)
		}
	}
}

// Pauses that were shortened while credentials were about to die do not make later ones longer.
func TestBackoff_ShortenedPausesDoNotGrow(t *testing.T) {
	var b Backoff
	now := noon
	for range 20 {
		now, b = b.After("payments/aws-iam-app", now, 4*time.Second)
	}
	if retryAt, _ := b.After("payments/aws-iam-app", now, 0); retryAt.Sub(now) > 2*time.Second {
		t.Errorf("the first wait after that is %s", retryAt.Sub(now))
	}
}

func TestHurry(t *testing.T) {
	for _, c := range []struct {
		says              string
		pause, left, want time.Duration
	}{
		{"there is time", time.Minute, 50 * time.Minute, time.Minute},
		{"an eighth of what is left", time.Minute, 4 * time.Minute, 30 * time.Second},
		{"just as long as it would be", time.Minute, 8 * time.Minute, time.Minute},
		{"a short wait stays", time.Second, 4 * time.Minute, time.Second},
		{"a second at least", time.Minute, 3 * time.Second, time.Second},
		{"even if that is too late", time.Minute, time.Millisecond, time.Second},
		{"nothing is left, or was there", time.Minute, 0, time.Minute},
		{"dead for long", time.Minute, -time.Hour, time.Minute},
	} {
		t.Run(c.says, func(t *testing.T) {
			if got := Hurry(c.pause, c.left); got != c.want {
				t.Errorf("waits %s, want %s", got, c.want)
			}
		})
	}
}
