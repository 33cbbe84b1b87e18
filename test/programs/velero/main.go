// Command velero asks every second for an object with Velero's plugin for AWS, which runs as a
// process of its own, as in Velero.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	hcplugin "github.com/hashicorp/go-plugin"
	"github.com/sirupsen/logrus"

	"github.com/vmware-tanzu/velero/pkg/plugin/framework"
	"github.com/vmware-tanzu/velero/pkg/plugin/framework/common"
	"github.com/vmware-tanzu/velero/pkg/plugin/velero"
)

func main() {
	store, err := objectStore()
	if err != nil {
		panic(err)
	}
	for ; ; time.Sleep(time.Second) {
		_, err := store.ObjectExists("trial", "object")
		fmt.Println(err)
	}
}

func objectStore() (velero.ObjectStore, error) {
	kind := string(common.PluginKindObjectStore)
	client := hcplugin.NewClient(&hcplugin.ClientConfig{
		HandshakeConfig:  framework.Handshake(),
		AllowedProtocols: []hcplugin.Protocol{hcplugin.ProtocolGRPC},
		Plugins: map[string]hcplugin.Plugin{
			kind: framework.NewObjectStorePlugin(common.ClientLogger(logrus.New())),
		},
		Cmd:    exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "velero-plugin-for-aws")),
		Logger: hclog.NewNullLogger(),
	})
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	plugin, err := protocol.Dispense(kind)
	if err != nil {
		return nil, err
	}
	store := plugin.(common.ClientDispenser).ClientFor("velero.io/aws").(velero.ObjectStore)
	return store, store.Init(map[string]string{
		"bucket": "trial", "region": os.Getenv("AWS_REGION"), "s3Url": os.Getenv("AWS_ENDPOINT_URL"), "s3ForcePathStyle": "true",
	})
}
