// Command external-dns lists the hosted zones every second with the Route 53 provider of
// external-dns.
package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/provider/aws"
)

func main() {
	provider, err := aws.New(context.Background(), externaldns.NewConfig(), endpoint.NewDomainFilter(nil))
	if err != nil {
		panic(err)
	}
	for ; ; time.Sleep(time.Second) {
		_, err := provider.Records(context.Background())
		fmt.Println(err)
	}
}
