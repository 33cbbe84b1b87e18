package credentials

import (
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// newHTTPClient returns the HTTP client for the calls that the controller makes itself. It has the
// SDK's settings, and takes a redirect as the answer: AWS answers with none, and a request that is
// signed, or that holds a token, is for one host alone.
//
// The SDK's own client follows 307 and 308 to any host, with the body and all headers but the
// Authorization and the session token. It does so if the request can be sent again (GetBody in
// net/http), which the SDK does not allow for its calls of STS.
func newHTTPClient(cfg *aws.Config) (*http.Client, error) {
	of, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return nil, fmt.Errorf("the HTTP client of the AWS settings is a %T", cfg.HTTPClient)
	}
	return &http.Client{
		Transport: of.GetTransport(), Timeout: of.GetTimeout(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
