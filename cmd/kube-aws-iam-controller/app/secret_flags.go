package app

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kube-aws-iam-controller/pkg/secret"
)

// secretFlags have the values of the flags about what all Secrets contain.
type secretFlags struct {
	annotationList []string
	omitAccountID  bool

	annotations map[string]string
}

func (s *secretFlags) addTo(f *pflag.FlagSet) {
	// No slice: values can have commas.
	f.StringArrayVar(&s.annotationList, "secret-annotation", nil, "Annotation, as <key>=<value>, that all Secrets get; can be repeated. Default: none but the controller's own.")
	f.BoolVar(&s.omitAccountID, "omit-account-id", false, "Leave AccountId out of the files, so that SDKs use no endpoints of the account, such as DynamoDB's.")
}

// validateSecrets reads the annotations.
func (o *options) validateSecrets() error {
	const form = "write <key>=<value>, such as policies.example.org/skip=true"
	s := &o.secrets
	s.annotations = map[string]string{}
	for _, pair := range s.annotationList {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("--secret-annotation=%q has no equals sign: %s", pair, form)
		}
		if _, again := s.annotations[key]; again {
			return fmt.Errorf("--secret-annotation=%q is given twice: give each key once", key)
		}
		s.annotations[key] = value
	}
	if err := secret.CheckAnnotations(s.annotations); err != nil {
		return fmt.Errorf("--secret-annotation: %w; %s", err, form)
	}
	return nil
}
