//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// compact lets etcd forget all that was before now, so that no watch can be taken up again from there.
//
// Source: "Why gRPC gateway" in the documentation of etcd 3.6; numbers of 64 bits are strings in it.
func (c *cluster) compact(ctx context.Context) error {
	var now struct {
		Header struct {
			Revision json.Number `json:"revision"`
		} `json:"header"`
	}
	if err := c.etcd(ctx, "/v3/kv/range", `{"key":"AA=="}`, &now); err != nil {
		return err
	}
	if now.Header.Revision == c.compacted {
		return nil // nothing was written since
	}
	c.compacted = now.Header.Revision
	return c.etcd(ctx, "/v3/kv/compaction", fmt.Sprintf(`{"revision":%s,"physical":true}`, now.Header.Revision), &struct{}{})
}

func (c *cluster) etcd(ctx context.Context, path, body string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.API.ControlPlane.Etcd.URL.String()+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s for %s", response.Status, path)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
