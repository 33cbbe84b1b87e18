//go:build linux

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// revision is one of etcd's. Numbers of 64 bits are strings in its JSON.
type revision = json.Number

// Compact removes etcd's history up to now, so that no watch can resume from before.
//
// Source: "Why gRPC gateway" in the documentation of etcd 3.6.
func (n *Node) Compact(ctx context.Context) error {
	var now struct {
		Header struct {
			Revision revision `json:"revision"`
		} `json:"header"`
	}
	if err := n.callEtcd(ctx, "/v3/kv/range", `{"key":"AA=="}`, &now); err != nil {
		return err
	}
	if now.Header.Revision == n.compacted {
		return nil // nothing was written since
	}
	n.compacted = now.Header.Revision
	return n.callEtcd(ctx, "/v3/kv/compaction", fmt.Sprintf(`{"revision":%s,"physical":true}`, now.Header.Revision), &struct{}{})
}

func (n *Node) callEtcd(ctx context.Context, path, body string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := n.API.ControlPlane.Etcd.URL.String() + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewBufferString(body))
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
	return json.NewDecoder(response.Body).Decode(into)
}
