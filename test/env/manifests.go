package env

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Create creates what the manifests in a folder describe, cluster-wide objects first and pods last,
// after replacing old by new texts in them, in pairs.
func (s *Sandbox) Create(ctx context.Context, folder string, oldNew ...string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no manifests in %s: %w", folder, err)
	}
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		found, err := readManifest(path, strings.NewReplacer(oldNew...))
		if err != nil {
			return err
		}
		objects = append(objects, found...)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return cmp.Compare(rank(a), rank(b)) })
	for _, o := range objects {
		if err := s.Cluster.Create(ctx, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// rank orders objects: what a namespace has needs the namespace, and pods need their rights.
func rank(o *unstructured.Unstructured) int {
	switch {
	case o.GetNamespace() == "":
		return 0
	case o.GetKind() == "Pod":
		return 2
	default:
		return 1
	}
}

func readManifest(path string, replacer *strings.Replacer) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user's own samples
	if err != nil {
		return nil, err
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(replacer.Replace(string(text)))), 4096)
	var objects []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}
