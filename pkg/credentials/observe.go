package credentials

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
)

// client returns an STS client that observes each attempt, corrects the clock by it and slows down
// while STS throttles. It retries errors with the codes in retried, besides those that the SDK
// knows.
func (c *Client) client(p aws.CredentialsProvider, retried ...string) *sts.Client {
	return sts.NewFromConfig(c.config, func(o *sts.Options) {
		o.Credentials, o.HTTPClient = p, c.http
		o.Retryer = retry.AddWithErrorCodes(newRetryer(c.clock.elapsed), retried...)
		o.APIOptions = append(o.APIOptions, c.observe)
	})
}

// observe adds a step that runs once for each attempt at a call of STS.
func (c *Client) observe(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("observeAttempt",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if awsmiddleware.GetServiceID(ctx) != sts.ServiceID {
				return next.HandleFinalize(ctx, in)
			}
			start, began := time.Now(), c.clock.read()
			out, metadata, err := next.HandleFinalize(ctx, in)
			if date, ok := stsDate(metadata); ok {
				c.clock.observe(date, began, c.clock.read())
			}
			if c.options.Observe == nil {
				return out, metadata, err
			}
			code := "OK"
			if err != nil {
				_, code = classify(err)
			}
			c.options.Observe(middleware.GetOperationName(ctx), code, time.Since(start))
			return out, metadata, err
		}), "Retry", middleware.After)
}

// stsDate returns the Date of an answer, if it is from STS and current. Every answer of STS has a
// request ID, refusals too; the page of a proxy has none. The SDK computes no skew for an answer
// from a cache.
func stsDate(metadata middleware.Metadata) (date time.Time, ok bool) {
	_, fromAWS := awsmiddleware.GetRequestIDMetadata(metadata)
	_, current := awsmiddleware.GetAttemptSkew(metadata)
	if !fromAWS || !current {
		return time.Time{}, false
	}
	return awsmiddleware.GetServerTime(metadata)
}
