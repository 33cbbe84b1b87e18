package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// The longest session token of STS, of 4,096 bytes, and files without an AccountId, reach the
// client as they are, at a part of what is read of a file.
func TestServe_LongTokenWithoutAccountID(t *testing.T) {
	files := goodFiles(t)
	body := strings.Replace(containerJSON(t, now.Add(time.Hour)), `"session-token"`, `"`+strings.Repeat("t", 4096)+`"`, 1)
	body = strings.Replace(body, `"AccountId":"123456789012",`, "", 1)
	if len(body) < 4096 || len(body) > maxFileSize/4 || strings.Contains(body, "AccountId") {
		t.Fatalf("%d bytes: %s", len(body), body)
	}
	files[keys.ContainerJSON] = body
	volume := newTestVolume(t)
	volume.mustPublish(t, files)
	h, _ := newTestHandler(volume)
	address, _ := start(t, h)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", http.NoBody)
	must(t, err)
	request.Header.Set("Authorization", goodToken)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { must(t, response.Body.Close()) }()
	got, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK || string(got) != body {
		t.Errorf("%s with %d bytes", response.Status, len(got))
	}
}
