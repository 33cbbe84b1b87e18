package credentials

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// refuse is an HTTP client that keeps the URL of a request, and sends none.
type refuse struct{ url string }

func (r *refuse) Do(request *http.Request) (*http.Response, error) {
	r.url = request.URL.Scheme + "://" + request.URL.Host
	return nil, errors.New("not sent")
}

// TestEndpoints has what docs/installation.md says of STS's endpoints, as the SDK resolves them.
func TestEndpoints(t *testing.T) {
	const fips, dualStack, endpoint = "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL_STS"
	for _, c := range []struct {
		region, variable, value, want string
	}{
		{"eu-central-1", "", "", "https://sts.eu-central-1.amazonaws.com"},
		{"us-east-1", "", "", "https://sts.us-east-1.amazonaws.com"},
		{"af-south-1", "", "", "https://sts.af-south-1.amazonaws.com"},
		{"us-east-1", fips, "true", "https://sts-fips.us-east-1.amazonaws.com"},
		{"us-gov-west-1", "", "", "https://sts.us-gov-west-1.amazonaws.com"},
		{"us-gov-west-1", fips, "true", "https://sts.us-gov-west-1.amazonaws.com"},
		{"eu-central-1", dualStack, "true", "https://sts.eu-central-1.api.aws"},
		{"cn-north-1", "", "", "https://sts.cn-north-1.amazonaws.com.cn"},
		{"eusc-de-east-1", "", "", "https://sts.eusc-de-east-1.amazonaws.eu"},
		{"eu-central-1", endpoint, "https://vpce-0.sts.eu-central-1.vpce.amazonaws.com", "https://vpce-0.sts.eu-central-1.vpce.amazonaws.com"},
	} {
		t.Run(c.region+" "+c.variable, func(t *testing.T) {
			for _, v := range []string{fips, dualStack, endpoint, "AWS_ENDPOINT_URL", "AWS_PROFILE"} {
				t.Setenv(v, "")
			}
			for v, value := range map[string]string{
				"AWS_REGION": c.region, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
			} {
				t.Setenv(v, value)
			}
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			client, err := New(t.Context(), Options{QPS: 1, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			var sent refuse
			_, err = client.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
				o.HTTPClient, o.Retryer = &sent, aws.NopRetryer{}
				o.Credentials = credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "x", "")
			})
			if sent.url != c.want {
				t.Errorf("it asks %s, want %s: %v", sent.url, c.want, err)
			}
		})
	}
}
