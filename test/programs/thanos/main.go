// Command thanos gets an object every second with the S3 client of Thanos.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/go-kit/log"
	"github.com/thanos-io/objstore/providers/s3"
)

func main() {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL"))
	if err != nil {
		panic(err)
	}
	config := s3.DefaultConfig
	config.Bucket, config.Endpoint, config.Insecure = "trial", endpoint.Host, true
	config.Region, config.AWSSDKAuth = os.Getenv("AWS_REGION"), os.Getenv("AWS_SDK_AUTH") != ""
	bucket, err := s3.NewBucketWithConfig(log.NewNopLogger(), config, "trial", nil)
	if err != nil {
		panic(err)
	}
	for ; ; time.Sleep(time.Second) {
		_, err := bucket.Attributes(context.Background(), "object")
		fmt.Println(err)
	}
}
