package credentials

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestRolesAnywhereEndpoint(t *testing.T) {
	for _, variable := range []string{"AWS_ENDPOINT_URL_ROLESANYWHERE", "AWS_USE_FIPS_ENDPOINT"} {
		t.Setenv(variable, "")
	}
	for region, want := range map[string]string{
		"eu-central-1":    "https://rolesanywhere.eu-central-1.amazonaws.com",
		"us-east-1":       "https://rolesanywhere.us-east-1.amazonaws.com",
		"cn-north-1":      "https://rolesanywhere.cn-north-1.amazonaws.com.cn",
		"us-gov-west-1":   "https://rolesanywhere.us-gov-west-1.amazonaws.com",
		"us-iso-east-1":   "https://rolesanywhere.us-iso-east-1.c2s.ic.gov",
		"eusc-de-east-1":  "https://rolesanywhere.eusc-de-east-1.amazonaws.eu",
		"eu-isoe-west-1":  "https://rolesanywhere.eu-isoe-west-1.cloud.adc-e.uk",
		"ap-southeast-99": "https://rolesanywhere.ap-southeast-99.amazonaws.com",
	} {
		if got, err := rolesAnywhereEndpoint(t.Context(), &aws.Config{}, region); err != nil || got != want {
			t.Errorf("%s has %s: %v", region, got, err)
		}
	}
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	if got, _ := rolesAnywhereEndpoint(t.Context(), &aws.Config{}, "us-gov-west-1"); got != "https://rolesanywhere-fips.us-gov-west-1.amazonaws.com" {
		t.Errorf("by FIPS it is %s", got)
	}
	general := &aws.Config{BaseEndpoint: aws.String("http://127.0.0.1:1")}
	if got, _ := rolesAnywhereEndpoint(t.Context(), general, "eu-central-1"); got != "http://127.0.0.1:1" {
		t.Errorf("by AWS_ENDPOINT_URL it is %s", got)
	}
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", "http://127.0.0.1:2")
	if got, _ := rolesAnywhereEndpoint(t.Context(), general, "eu-central-1"); got != "http://127.0.0.1:2" {
		t.Errorf("by its own variable it is %s", got)
	}
}
