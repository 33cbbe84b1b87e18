package app

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kube-aws-iam-controller/pkg/credentials"
)

// rolesAnywhereFlags are the flags of IAM Roles Anywhere, and what is parsed from them: nil if none
// is set.
type rolesAnywhereFlags struct {
	trustAnchorARN, profileARN, roleARN, certificateDir string

	parsed *credentials.RolesAnywhere
}

// addTo adds the flags to those of the program.
func (r *rolesAnywhereFlags) addTo(f *pflag.FlagSet) {
	f.StringVar(&r.trustAnchorARN, "roles-anywhere-trust-anchor-arn", "", "Trust anchor by which the controller gets its own AWS credentials from IAM Roles Anywhere. "+
		"Needs the other flags of this group.")
	f.StringVar(&r.profileARN, "roles-anywhere-profile-arn", "", "Profile of IAM Roles Anywhere, of the Region of the trust anchor.")
	f.StringVar(&r.roleARN, "roles-anywhere-role-arn", "", "Role that the controller has by IAM Roles Anywhere, one of the profile.")
	f.StringVar(&r.certificateDir, "roles-anywhere-certificate-dir", "", "Directory with the controller's certificate and its key, tls.crt and tls.key: "+
		"a mounted Secret of type kubernetes.io/tls. They are read again when they change.")
}

// validateRolesAnywhere reads the flags of IAM Roles Anywhere: all of them or none.
func (o *options) validateRolesAnywhere() (err error) {
	r := &o.rolesAnywhere
	var missing []string
	for _, flag := range []struct{ name, value string }{
		{"trust-anchor-arn", r.trustAnchorARN},
		{"profile-arn", r.profileARN},
		{"role-arn", r.roleARN},
		{"certificate-dir", r.certificateDir},
	} {
		if flag.value == "" {
			missing = append(missing, "--roles-anywhere-"+flag.name)
		}
	}
	switch len(missing) {
	case 4:
		return nil
	case 0:
	default:
		return fmt.Errorf("IAM Roles Anywhere also needs %s", strings.Join(missing, " and "))
	}
	if o.seedSecret != "" {
		return errors.New("--seed-secret and --roles-anywhere-… are two identities of the controller: leave one out")
	}
	r.parsed, err = credentials.ParseRolesAnywhere(r.trustAnchorARN, r.profileARN, r.roleARN, r.certificateDir)
	return err
}
