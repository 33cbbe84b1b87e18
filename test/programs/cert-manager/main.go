// Command cert-manager presents a challenge every second with the Route 53 solver of
// cert-manager, which is made for each challenge, as cert-manager does.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/route53"
)

// zone need not exist: what counts is who asks for it. Without one, the solver looks into DNS.
const zone = "Z0"

func main() {
	for ; ; time.Sleep(time.Second) {
		fmt.Println(present(context.Background()))
	}
}

func present(ctx context.Context) error {
	solver, err := route53.NewDNSProvider(ctx, "", "", zone, "", "", "", true, nil, "trial")
	if err != nil {
		return err
	}
	return solver.Present(ctx, "example.org", "_acme-challenge.example.org.", "value")
}
