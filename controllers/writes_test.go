package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestWrites(t *testing.T) {
	name := types.NamespacedName{Namespace: "a", Name: "aws-iam-orders"}
	write := func(version string) *writes {
		w := newWrites()
		w.note(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, ResourceVersion: version}})
		return w
	}
	for _, test := range []struct {
		what, written, read string
		unseen              bool
	}{
		{"there is none yet", "100", "", true},
		{"an older one", "100", "99", true},
		{"this one", "100", "100", false},
		{"a newer one", "99", "100", false},
		{"it cannot be told", "100", "x", true},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := write(test.written)
			if unseen := w.unseen(name, test.read); unseen != test.unseen {
				t.Errorf("unseen is %t", unseen)
			}
			if remembered := len(w.latest) > 0; remembered != test.unseen {
				t.Errorf("remembered: %t", remembered)
			}
			if w.unseen(types.NamespacedName{Namespace: "b", Name: name.Name}, "") {
				t.Error("another one counts")
			}
		})
	}
	w := write("100")
	w.forget(name)
	if w.unseen(name, "") {
		t.Error("is not forgotten")
	}
}
