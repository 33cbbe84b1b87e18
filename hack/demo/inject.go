package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"kube-aws-iam-controller/test/env"
)

// The pods as users write them. annotatedPod has its fields in the order of their names, as the
// demo prints them.
var (
	//go:embed annotated.yaml
	annotatedPod []byte
	//go:embed labeled.yaml
	labeledPod []byte
)

// showInjection installs the policies of config/injection, and prints what they make of the
// annotated pod.
func (e *environment) showInjection(ctx context.Context) error {
	if err := e.Create(ctx, "hack/demo/shop"); err != nil {
		return err
	}
	plain, err := e.tryPod(ctx, annotatedPod)
	if err != nil {
		return err
	}
	if err := e.Create(ctx, "config/injection", mountPath, e.mount); err != nil {
		return err
	}
	for _, manifest := range [][]byte{labeledPod, annotatedPod} {
		if err := e.awaitInjection(ctx, manifest); err != nil {
			return err
		}
	}
	injected, err := e.tryPod(ctx, annotatedPod)
	if err != nil {
		return err
	}
	return e.printAdded(plain, injected)
}

// awaitInjection waits until the policy that injects a pod is in force.
func (e *environment) awaitInjection(ctx context.Context, manifest []byte) error {
	return env.Await(ctx, "the API server injects", func() (bool, error) {
		pod, err := e.tryPod(ctx, manifest)
		if err != nil {
			return false, nil //nolint:nilerr // while only the policies that reject are in force
		}
		_, injected, err := unstructured.NestedSlice(pod.Object, "spec", "volumes")
		return injected, err
	})
}

// createPods creates both pods.
func (e *environment) createPods(ctx context.Context) error {
	for _, manifest := range [][]byte{annotatedPod, labeledPod} {
		pod, err := parsePod(manifest)
		if err != nil {
			return err
		}
		if err := e.Cluster.Create(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// tryPod returns what the API server would make of a pod.
func (e *environment) tryPod(ctx context.Context, manifest []byte) (*unstructured.Unstructured, error) {
	pod, err := parsePod(manifest)
	if err != nil {
		return nil, err
	}
	return pod, e.Cluster.Create(ctx, pod, client.DryRunAll)
}

func parsePod(manifest []byte) (*unstructured.Unstructured, error) {
	pod := &unstructured.Unstructured{}
	return pod, yaml.Unmarshal(manifest, &pod.Object)
}

// printAdded prints the annotated pod as it was written, and with a plus what the policies add.
// Both pods have the API server's defaults, and only one was injected.
func (e *environment) printAdded(plain, injected *unstructured.Unstructured) error {
	written, err := parsePod(annotatedPod)
	if err != nil {
		return err
	}
	before, err := yaml.Marshal(written.Object)
	if err != nil {
		return err
	}
	after, err := yaml.Marshal(withAdded(written.Object, plain.Object, injected.Object))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(before), "\n"), "\n")
	for line := range strings.Lines(strings.ReplaceAll(string(after), e.mount, mountPath)) {
		mark := "+"
		if len(lines) > 0 && strings.TrimSuffix(line, "\n") == lines[0] {
			mark, lines = " ", lines[1:]
		}
		fmt.Printf("  %s %s", mark, line)
	}
	return nil
}

// withAdded returns written with what injected has and plain has not. Lists grow only at their end.
func withAdded(written, plain, injected any) any {
	switch injected := injected.(type) {
	case map[string]any:
		w, _ := written.(map[string]any)
		p, _ := plain.(map[string]any)
		result := map[string]any{}
		for key, value := range injected {
			if _, ok := p[key]; !ok {
				result[key] = value
			} else if _, ok := w[key]; ok {
				result[key] = withAdded(w[key], p[key], value)
			}
		}
		return result
	case []any:
		w, _ := written.([]any)
		p, _ := plain.([]any)
		var result []any
		for i, value := range injected {
			if i < len(p) && i < len(w) {
				value = withAdded(w[i], p[i], value)
			}
			result = append(result, value)
		}
		return result
	default:
		return injected
	}
}
