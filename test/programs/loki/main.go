// Command loki asks every second for an object with the S3 client of Loki, or with that of its
// setting use_thanos_objstore.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/go-kit/log"
	"github.com/grafana/dskit/flagext"
	"github.com/grafana/loki/v3/pkg/storage/bucket/s3"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/aws"
	"github.com/grafana/loki/v3/pkg/storage/chunk/client/hedging"
)

func main() {
	client := newClient
	if os.Getenv("USE_THANOS_OBJSTORE") != "" {
		client = newThanosClient
	}
	exists, err := client()
	if err != nil {
		panic(err)
	}
	for ; ; time.Sleep(time.Second) {
		_, err := exists(context.Background(), "object")
		fmt.Println(err)
	}
}

type existsFunc func(context.Context, string) (bool, error)

func newClient() (existsFunc, error) {
	var config aws.S3Config
	flagext.DefaultValues(&config) // among them pauses between repeated calls
	config.BucketNames, config.Endpoint, config.Region = "trial", os.Getenv("AWS_ENDPOINT_URL"), os.Getenv("AWS_REGION")
	config.S3ForcePathStyle = true
	client, err := aws.NewS3ObjectClient(config, hedging.Config{})
	if err != nil {
		return nil, err
	}
	return client.ObjectExists, nil
}

func newThanosClient() (existsFunc, error) {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL"))
	if err != nil {
		return nil, err
	}
	client, err := s3.NewBucketClient(s3.Config{
		BucketName: "trial", Endpoint: endpoint.Host, Insecure: true, Region: os.Getenv("AWS_REGION"),
	}, "trial", log.NewNopLogger(), nil)
	if err != nil {
		return nil, err
	}
	return client.Exists, nil
}
