package main

// What a package may import besides the standard library. A path stands for
// itself and everything below it; those without a dot in their first element
// are this module's own.
var table = map[string][]string{
	"api/v1": {kubernetesTypes},

	"pkg/role":   {awsSDK + "/aws/arn"},
	"pkg/demand": {"api", "pkg/role", kubernetesAPI, kubernetesTypes},
	"pkg/policy": {"pkg/role", "pkg/demand", kubernetesAPI, kubernetesTypes},
	"pkg/credentials": {
		"pkg/role", "pkg/fairrate", awsSDK, "github.com/aws/smithy-go", "golang.org/x/sync/singleflight",
	},
	"pkg/secret":  {"pkg/role", "pkg/demand", "pkg/credentials", kubernetesAPI, kubernetesTypes},
	"pkg/refresh": {},
	"pkg/fairqueue": {
		controllerRuntime, kubernetesClient, "k8s.io/utils/clock", "github.com/prometheus/client_golang",
	},
	"pkg/fairrate": {"golang.org/x/time/rate"},
	"pkg/metrics":  {"github.com/prometheus/client_golang"},

	"controllers": {
		"api", "pkg", controllerRuntime, kubernetesAPI, kubernetesTypes, kubernetesClient,
		"k8s.io/utils", "github.com/go-logr/logr", "golang.org/x/time/rate",
		"github.com/prometheus/client_golang/prometheus/promhttp", // serves the metrics
	},
	"cmd/kube-aws-iam-controller": {
		"api", "controllers", "pkg", controllerRuntime, kubernetesAPI, kubernetesTypes, kubernetesClient,
		"k8s.io/utils", "k8s.io/klog/v2", "github.com/go-logr", "go.uber.org/zap", "github.com/spf13/pflag",
	},

	testDouble: {"pkg/role"},
}

// Test files may use any library and, besides what their package may, these of
// our own packages.
var testsMayAlso = []string{"api", "pkg", testDouble}

// The in-process STS that tests talk to. What ships must never contain it, so
// "pkg" in a row does not let it in, only this path does.
const testDouble = "pkg/credentials/ststest"

const (
	awsSDK            = "github.com/aws/aws-sdk-go-v2"
	controllerRuntime = "sigs.k8s.io/controller-runtime"
	kubernetesAPI     = "k8s.io/api"
	kubernetesTypes   = "k8s.io/apimachinery"
	kubernetesClient  = "k8s.io/client-go"
)

// Folders whose every package needs a row. What lies elsewhere (hack/) builds
// and checks the product, and is not part of it.
var governed = []string{"api", "cmd", "controllers", "pkg"}

// Names that say nothing about what a package is for, and so attract
// everything.
var meaningless = []string{"common", "helper", "helpers", "misc", "shared", "util", "utils"}
