package chart_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/strvals"
)

// TestMigrationCommand renders the chart with the values of the command that docs/migration.md
// shows.
func TestMigrationCommand(t *testing.T) {
	doc, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	command := regexp.MustCompile(`(?m)^ +helm install (?:.*\\\n)*.*$`).Find(doc)
	for _, set := range regexp.MustCompile(`--set '?([^ '\n]+)`).FindAllSubmatch(command, -1) {
		if err := strvals.ParseInto(string(set[1]), values); err != nil {
			t.Fatal(err)
		}
	}
	rest := map[string]string{
		"Deployment/" + name:                                         "--authorization-mode=Namespace",
		"MutatingAdmissionPolicy/" + name + "-inject-pod":            "eu-central-1 arn:aws:iam::123456789012:role/",
		"ValidatingAdmissionPolicy/" + name + "-injected":            "arn:aws:iam::123456789012:role/",
		"MutatingAdmissionPolicy/" + name + "-inject-serviceaccount": "eu-central-1",
	}
	for _, object := range helm(t, home, values) {
		id := object.GetKind() + "/" + object.GetName()
		if strings.HasPrefix(object.GetName(), name+"-pod-") {
			t.Errorf("%s would reject pods that have their right by the Namespace", id)
		}
		text := fmt.Sprint(object.Object)
		if slices.ContainsFunc(strings.Fields(rest[id]), func(part string) bool { return !strings.Contains(text, part) }) {
			t.Errorf("%s lacks one of %s", id, rest[id])
		}
		delete(rest, id)
	}
	if len(rest) > 0 {
		t.Errorf("there is no %v", rest)
	}
}
