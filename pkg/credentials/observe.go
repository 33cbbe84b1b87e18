package credentials

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// client makes an STS client that tells of each attempt, sets the clock by it and slows down when STS asks for it.
func (c *Client) client(p aws.CredentialsProvider) *sts.Client {
	return sts.NewFromConfig(c.config, func(o *sts.Options) {
		o.Credentials = p
		o.Retryer = newRetryer(c.clock.elapsed)
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
			if date, ok := dateOf(metadata); ok {
				c.clock.hear(date, began, c.clock.read())
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

// dateOf is when STS answered, if it was STS, and now: every answer of it has a Date and the ID of the request, refusals too. The page of a proxy has no such ID,
// and what was kept in a cache has an Age (RFC 9111).
func dateOf(metadata middleware.Metadata) (date time.Time, ok bool) {
	_, ofAWS := awsmiddleware.GetRequestIDMetadata(metadata)
	answer, isHTTP := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	if !ofAWS || !isHTTP || answer.Header.Get("Age") != "" {
		return time.Time{}, false
	}
	return awsmiddleware.GetServerTime(metadata)
}
