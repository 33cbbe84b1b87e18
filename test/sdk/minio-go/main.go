// Command minio-go gets an object of the STS double every second, which is the ARN of the caller,
// and prints the outcome, a line for each call.
package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func main() {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_STS"))
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
		Region: os.Getenv("AWS_REGION"),
	})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	for ; ; time.Sleep(time.Second) {
		if arn, err := getObject(client); err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("ok", arn)
		}
	}
}

func getObject(client *minio.Client) (string, error) {
	object, err := client.GetObject(context.Background(), "trial", "identity", minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer object.Close()
	content, err := io.ReadAll(object)
	return string(content), err
}
