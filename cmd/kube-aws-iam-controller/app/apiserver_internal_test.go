package app

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"

	v1 "kube-aws-iam-controller/api/v1"
)

// answers is an API server that answers one after the other what it serves, and then the last again
// and again. A nil error stands for AWSIAMRoles.
type answers struct {
	discovery.DiscoveryInterface

	next []error
}

func (a *answers) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	err := a.next[0]
	if len(a.next) > 1 {
		a.next = a.next[1:]
	}
	return &metav1.APIResourceList{APIResources: []metav1.APIResource{{Kind: v1.Kind}}}, err
}

// An API server that has just come up does not know yet what it serves, and says that it serves
// nothing.
func TestWhatAnAPIServerSaysAsItComesUp(t *testing.T) {
	away, absent := errors.New("away"), apierrors.NewNotFound(schema.GroupResource{}, "")
	for _, c := range []struct {
		says    string
		answers []error
		serves  bool
		after   time.Duration
	}{
		{"it knows them", []error{nil}, true, 0},
		{"it does not, and was there all the time", []error{absent}, false, 0},
		{"it comes up and knows them at once", []error{away, nil}, true, time.Second},
		{"it comes up and knows them a little later", []error{away, absent, absent, nil}, true, 3 * time.Second},
		{"it comes up and does not know them", []error{away, away, absent}, false, 7 * time.Second},
		{"it goes away once more", []error{away, absent, absent, absent, absent, away, absent, nil}, true, 7 * time.Second},
	} {
		t.Run(c.says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				serves, err := awaitAPIServer(t.Context(), &answers{next: c.answers}, &Options{HealthAddress: "0", Clock: clock.RealClock{}})
				if err != nil || serves != c.serves || time.Since(began) != c.after {
					t.Errorf("after %s: %t, %v", time.Since(began), serves, err)
				}
			})
		})
	}
}
