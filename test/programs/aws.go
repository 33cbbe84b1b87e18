package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
)

// awsDouble passes calls on to moto, if they are signed with the ID and token of a session that has
// not expired, and counts them. Signatures are left to make e2e, which verifies them.
type awsDouble struct {
	*httptest.Server
	next http.Handler

	mu       sync.Mutex
	sessions []*session // in the order of issue
}

// session is a session and what was done with it.
type session struct {
	credentials.Credentials
	accepted, refused int
	first             time.Time // the first accepted call
}

func newAWSDouble(moto *url.URL) *awsDouble {
	next := httputil.NewSingleHostReverseProxy(moto)
	next.ErrorLog = log.New(io.Discard, "", 0) // of programs that end during a call
	d := &awsDouble{next: next}
	d.Server = httptest.NewServer(d)
	return d
}

// issue returns credentials that it accepts from now on for a lifetime.
func (d *awsDouble) issue(lifetime time.Duration) credentials.Credentials {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, n := time.Now().UTC().Truncate(time.Second), len(d.sessions)+1
	c := credentials.Credentials{
		AccessKeyID:     fmt.Sprintf("ASIAPROGRAM00000000%d", n),
		SecretAccessKey: credentials.Redact(fmt.Sprintf("secret-%d", n)),
		SessionToken:    credentials.Redact(fmt.Sprintf("token-%d", n)),
		Issued:          now, Expires: now.Add(lifetime),
	}
	d.sessions = append(d.sessions, &session{Credentials: c})
	return c
}

// session returns what was done with the session of a number, from 0.
func (d *awsDouble) session(n int) session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.sessions[n]
}

// ServeHTTP refuses expired sessions as S3 does. A call of an unknown key is refused, too.
func (d *awsDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.accept(r) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"))
		return
	}
	d.next.ServeHTTP(w, r)
}

func (d *awsDouble) accept(r *http.Request) bool {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(credential, "/")
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.sessions, func(s *session) bool { return s.AccessKeyID == id })
	if i < 0 {
		return false
	}
	s := d.sessions[i]
	if r.Header.Get("X-Amz-Security-Token") != s.SessionToken.Reveal() || !time.Now().Before(s.Expires) {
		s.refused++
		return false
	}
	if s.accepted++; s.accepted == 1 {
		s.first = time.Now()
	}
	return true
}
