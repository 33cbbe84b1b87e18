// Command go-v2 calls GetCallerIdentity every second, and prints the outcome, a line for each call.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	client := sts.NewFromConfig(cfg)
	for ; ; time.Sleep(time.Second) {
		if identity, err := client.GetCallerIdentity(ctx, nil); err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("ok", *identity.Arn)
		}
	}
}
