package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestReadOptions(t *testing.T) {
	remote := map[string]string{
		"E2E_KUBECONFIG": "kind.kubeconfig", "E2E_IMAGE": "example.org/controller:v1", "E2E_SDK_IMAGE": "example.org/sdk:v1",
		"E2E_STS_ADDRESS": "172.18.0.1:8080",
	}
	without := func(variable string) map[string]string {
		changed := map[string]string{}
		for name, value := range remote {
			if name != variable {
				changed[name] = value
			}
		}
		return changed
	}
	for name, c := range map[string]struct {
		environment map[string]string
		some        bool
		want        string // in the error
	}{
		"local node":                    {},
		"remote cluster":                {environment: remote},
		"remote without an image":       {environment: without("E2E_IMAGE"), want: "E2E_IMAGE"},
		"remote without a program":      {environment: without("E2E_SDK_IMAGE"), want: "E2E_SDK_IMAGE"},
		"remote without an STS address": {environment: without("E2E_STS_ADDRESS"), want: "E2E_STS_ADDRESS"},
		"docs of a whole run":           {environment: map[string]string{"E2E_DOCS": "docs"}},
		"docs of some tests":            {environment: map[string]string{"E2E_DOCS": "docs"}, some: true, want: "whole run"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readOptions("/root", func(variable string) string { return c.environment[variable] }, c.some)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestReadOptions_PathsAndDefaults(t *testing.T) {
	environment := map[string]string{
		"E2E_ASSETS": "/assets", "E2E_KUBECONFIG": "kind.kubeconfig", "E2E_IMAGE": "a", "E2E_SDK_IMAGE": "b", "E2E_STS_ADDRESS": "host:1",
	}
	o, err := readOptions("/root", func(variable string) string { return environment[variable] }, false)
	if err != nil {
		t.Fatal(err)
	}
	if o.assets != "/assets" || o.sdks != "/root/bin/e2e/sdks" || o.docs != "" || o.remote.kubeconfig != "/root/kind.kubeconfig" {
		t.Errorf("paths are %+v", o)
	}
	if o.remote.session != 10*time.Minute {
		t.Errorf("sessions last %s", o.remote.session)
	}
}
