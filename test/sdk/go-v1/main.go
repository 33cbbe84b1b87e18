// Command go-v1 calls GetCallerIdentity every second, and prints the outcome, a line for each call.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/sts"
)

func main() {
	// This SDK has no environment variable for the endpoint.
	client := sts.New(session.Must(session.NewSession(&aws.Config{Endpoint: new(os.Getenv("AWS_ENDPOINT_URL_STS"))})))
	for ; ; time.Sleep(time.Second) {
		if identity, err := client.GetCallerIdentity(nil); err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("ok", *identity.Arn)
		}
	}
}
