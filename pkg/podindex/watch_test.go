package podindex

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-aws-iam-controller/pkg/filteredwatch"
	"kube-aws-iam-controller/test/env"
)

// oldAPIServer answers as one that cannot stream lists, and that ignores a limit where
// resourceVersion is "0".
type oldAPIServer struct {
	t    *testing.T
	pods int
	// expires answers the second page of the first list with 410 Gone.
	expires bool

	lock  sync.Mutex
	lists []url.Values
	heap  []uint64 // at the beginning of each list, in bytes
}

// ServeHTTP implements http.Handler.
func (s *oldAPIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case query.Get("sendInitialEvents") != "":
		s.fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	case query.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			s.t.Error(err)
		}
		<-r.Context().Done()
	default:
		s.list(w, query)
	}
}

func (s *oldAPIServer) fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.WriteHeader(code)
	s.write(w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message}) //nolint:gosec // an HTTP status
}

func (s *oldAPIServer) write(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Error(err)
	}
}

func (s *oldAPIServer) list(w http.ResponseWriter, query url.Values) {
	s.lock.Lock()
	s.lists, s.heap = append(s.lists, query), append(s.heap, env.LiveHeap())
	expires := s.expires && query.Get("continue") != ""
	s.expires = s.expires && !expires
	s.lock.Unlock()
	if expires {
		s.fail(w, http.StatusGone, metav1.StatusReasonExpired, "The provided continue parameter is too old")
		return
	}
	first, _ := strconv.Atoi(cmp.Or(query.Get("continue"), "0"))
	last := s.pods
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && query.Get("resourceVersion") != "0" {
		last = min(last, first+limit)
	}
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	if last < s.pods {
		list.Continue = strconv.Itoa(last)
	}
	for i := first; i < last; i++ {
		p := podMounting(fmt.Sprint("pod-", i), strconv.Itoa(i), "aws-iam-x")
		p.Annotations = map[string]string{"example.org/large": strings.Repeat("x", 10_000)}
		list.Items = append(list.Items, *p)
	}
	s.write(w, list)
}

// watchPods fills an Index from an API server until all pods are known.
func watchPods(t *testing.T, s *oldAPIServer) *Index {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	clientset, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	index := New([]string{""}, "/meta/aws-iam", clocktesting.NewFakePassiveClock(noon), Injection{})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- NewWatch(clientset.CoreV1(), []string{""}, index).Start(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-index.Synced():
	case <-ctx.Done():
	}
	return index
}

func TestWatch_ListsInPagesWhereTheAPIServerCannotStream(t *testing.T) {
	s := &oldAPIServer{t: t, pods: 5 * filteredwatch.PageSize}
	index := watchPods(t, s)
	if len(index.byName) != s.pods {
		t.Errorf("%d pods of %d", len(index.byName), s.pods)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	if len(s.lists) != 5 {
		t.Errorf("%d requests", len(s.lists))
	}
	for i, query := range s.lists {
		if query.Get("limit") != strconv.Itoa(filteredwatch.PageSize) || query.Get("resourceVersion") != "" || !strings.Contains(query.Get("fieldSelector"), "status.phase!=Succeeded") {
			t.Errorf("request %d asks for %v", i, query)
		}
	}
	// A page of whole pods has 5 MB, and all of them 25.
	grown := int64(s.heap[len(s.heap)-1]) - int64(s.heap[0]) //nolint:gosec // a heap is smaller
	t.Logf("at the last page, %d KiB more are in use than at the first", grown>>10)
	if grown > 10<<20 {
		t.Errorf("at the last page, %d bytes more are in use than at the first", grown)
	}
}

func TestWatch_BeginsAgainWhenAPageExpires(t *testing.T) {
	s := &oldAPIServer{t: t, pods: 2*filteredwatch.PageSize + 1, expires: true}
	index := watchPods(t, s)
	if len(index.byName) != s.pods {
		t.Errorf("%d pods of %d", len(index.byName), s.pods)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	for i, query := range s.lists {
		if query.Get("limit") != strconv.Itoa(filteredwatch.PageSize) {
			t.Errorf("request %d asks for %v", i, query)
		}
	}
	if len(s.lists) != 2+3 {
		t.Errorf("%d requests", len(s.lists))
	}
}
