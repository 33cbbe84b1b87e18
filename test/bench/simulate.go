package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	restwatch "k8s.io/client-go/rest/watch"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// startAmong starts a controller against the API server with a number of ordinary pods, which are
// generated while they are watched: no etcd holds them.
func (c *cluster) startAmong(ctx context.Context, pods int) (p *process, toReady time.Duration, err error) {
	direct, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, 0, err
	}
	transport, err := rest.TransportFor(direct)
	if err != nil {
		return nil, 0, err
	}
	target, err := url.Parse(direct.Host)
	if err != nil {
		return nil, 0, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,                         // each event of a watch at once
		ErrorLog:      log.New(io.Discard, "", 0), // of watches that end
	}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		switch {
		case in.URL.Path != "/api/v1/pods":
			proxy.ServeHTTP(out, in)
		case in.URL.Query().Get("sendInitialEvents") != "true":
			http.Error(out, "only the streaming list is simulated", http.StatusNotImplemented)
		default:
			_ = servePods(out, in, pods) // the controller sees that it ends
		}
	}))
	context.AfterFunc(ctx, server.CloseClientConnections)

	config := clientcmdapi.NewConfig()
	config.Clusters["simulated"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["simulated"] = &clientcmdapi.Context{Cluster: "simulated"}
	config.CurrentContext = "simulated"
	path := filepath.Join(c.Dir, "simulated.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return nil, 0, err
	}
	return c.startAt(ctx, path)
}

// servePods answers a watch with pods, then with the bookmark that ends the list, and then with
// nothing until the client disconnects.
func servePods(out http.ResponseWriter, in *http.Request, pods int) error {
	media := mediaType(in.Header.Get("Accept"))
	out.Header().Set("Content-Type", media.MediaType+";stream=watch")
	events := restwatch.NewEncoder(
		streaming.NewEncoder(media.StreamSerializer.NewFrameWriter(out), clientgoscheme.Codecs.EncoderForVersion(media.StreamSerializer.Serializer, metav1.Unversioned)),
		clientgoscheme.Codecs.EncoderForVersion(media.Serializer, corev1.SchemeGroupVersion))
	for i := range pods {
		pod := ordinary(i)
		pod.ResourceVersion = "1"
		if err := events.Encode(&watch.Event{Type: watch.Added, Object: pod}); err != nil {
			return err
		}
	}
	end := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	if err := events.Encode(&watch.Event{Type: watch.Bookmark, Object: end}); err != nil {
		return err
	}
	if err := http.NewResponseController(out).Flush(); err != nil {
		return err
	}
	<-in.Context().Done()
	return nil
}

// mediaType is what the client asks for: protobuf, otherwise JSON.
func mediaType(accept string) runtime.SerializerInfo {
	wanted := runtime.ContentTypeJSON
	if strings.Contains(accept, runtime.ContentTypeProtobuf) {
		wanted = runtime.ContentTypeProtobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(clientgoscheme.Codecs.SupportedMediaTypes(), wanted)
	return info
}
