package credentials

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"kube-aws-iam-controller/pkg/role"
)

// RolesAnywhere is how a Client gets its base credentials from IAM Roles Anywhere: for clusters
// that AWS does not know, by a certificate.
type RolesAnywhere struct {
	// TrustAnchor and Profile are of one Region and account; Role is one of the profile.
	TrustAnchor, Profile arn.ARN
	Role                 role.ARN
	// CertificateDir is the directory with tls.crt and tls.key.
	CertificateDir string
}

// The forms of the resources' names. Source: the API reference of IAM Roles Anywhere.
var (
	trustAnchorForm = regexp.MustCompile(`^trust-anchor/[\w-]{1,64}$`)
	profileForm     = regexp.MustCompile(`^profile/[\w-]{1,64}$`)
)

// ParseRolesAnywhere checks the values of the flags --roles-anywhere-…, one by one and together.
func ParseRolesAnywhere(trustAnchor, profile, roleARN, dir string) (*RolesAnywhere, error) {
	var r RolesAnywhere
	var err error
	if r.TrustAnchor, err = parseResource(trustAnchor, trustAnchorForm); err != nil {
		return nil, fmt.Errorf("--roles-anywhere-trust-anchor-arn=%q is not of the form "+
			"arn:aws:rolesanywhere:<region>:<account>:trust-anchor/<id>", trustAnchor)
	}
	if r.Profile, err = parseResource(profile, profileForm); err != nil {
		return nil, fmt.Errorf("--roles-anywhere-profile-arn=%q is not of the form "+
			"arn:aws:rolesanywhere:<region>:<account>:profile/<id>", profile)
	}
	if r.Role, err = role.ParseARN(roleARN); err != nil {
		return nil, fmt.Errorf("--roles-anywhere-role-arn: %w; it is of the form arn:aws:iam::123456789012:role/name", err)
	}
	if r.CertificateDir = dir; !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("--roles-anywhere-certificate-dir=%q is not an absolute path", dir)
	}
	switch anchor := r.TrustAnchor; {
	case anchor.Region != r.Profile.Region:
		return nil, fmt.Errorf("--roles-anywhere-trust-anchor-arn is of Region %s and --roles-anywhere-profile-arn of "+
			"Region %s: both must be of the same", anchor.Region, r.Profile.Region)
	case anchor.Partition != r.Profile.Partition || anchor.Partition != r.Role.Partition():
		return nil, fmt.Errorf("--roles-anywhere-trust-anchor-arn, --roles-anywhere-profile-arn and "+
			"--roles-anywhere-role-arn are of the partitions %s, %s and %s: all must be of the same",
			anchor.Partition, r.Profile.Partition, r.Role.Partition())
	case anchor.AccountID != r.Profile.AccountID || anchor.AccountID != r.Role.Account():
		return nil, fmt.Errorf("--roles-anywhere-trust-anchor-arn, --roles-anywhere-profile-arn and "+
			"--roles-anywhere-role-arn are of the accounts %s, %s and %s: all must be of the same. "+
			"--assume-role can be of another account", anchor.AccountID, r.Profile.AccountID, r.Role.Account())
	}
	return &r, nil
}

// parseResource parses the ARN of a resource of IAM Roles Anywhere.
func parseResource(text string, form *regexp.Regexp) (arn.ARN, error) {
	parsed, err := arn.Parse(text)
	if err == nil && (parsed.Service != x509Service || parsed.Region == "" || parsed.AccountID == "" || !form.MatchString(parsed.Resource)) {
		err = fmt.Errorf("not an ARN of %s", x509Service)
	}
	return parsed, err
}
