// Command kube-aws-iam-controller gives Kubernetes pods temporary credentials of AWS IAM roles,
// through Secrets that they mount.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"kube-aws-iam-controller/cmd/kube-aws-iam-controller/app"
)

// version is set by the linker.
var version = "development"

func main() {
	if err := app.Run(ctrl.SetupSignalHandler(), version, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kube-aws-iam-controller: "+err.Error())
		os.Exit(1)
	}
}
