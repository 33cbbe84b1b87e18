// Package keylog finds access keys in the log of the controller.
package keylog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// The messages of the controller's log that say which key a Secret has.
const (
	messageIssued  = "credentials issued"
	messageDeleted = "secret deleted"
)

// Entry is what the log says about an access key.
type Entry struct {
	Namespace, Secret, Role, Session string
	Issued, Expires                  time.Time
	// Pods is how many pods asked for the Secret when the key was issued.
	Pods int
	// Replaced is when the Secret got another key or was deleted; zero if the log does not say.
	Replaced time.Time
}

// line is a line of the log, in the encoding that is its default.
type line struct {
	Time        time.Time `json:"ts"`
	Message     string    `json:"msg"`
	Namespace   string    `json:"namespace"`
	Secret      string    `json:"secret"`
	Role        string    `json:"role"`
	Session     string    `json:"session"`
	AccessKeyID string    `json:"accessKeyID"`
	Expires     time.Time `json:"expires"`
	Pods        int       `json:"pods"`
}

// Find returns what a log says about an access key, or nil if it says nothing. Lines can be of
// several replicas in any order, and have a prefix, as kubectl logs adds one; other lines are left
// out.
func Find(log io.Reader, accessKeyID string) (*Entry, error) {
	var found *Entry
	var changes []line // of all Secrets, as the key can be in the last line
	err := eachLine(log, func(l *line) {
		if l.Message == messageIssued && l.AccessKeyID == accessKeyID {
			found = &Entry{Namespace: l.Namespace, Secret: l.Secret, Role: l.Role, Session: l.Session, Issued: l.Time, Expires: l.Expires, Pods: l.Pods}
			return
		}
		changes = append(changes, line{Time: l.Time, Namespace: l.Namespace, Secret: l.Secret})
	})
	if err != nil || found == nil {
		return nil, err
	}
	for i := range changes {
		found.see(&changes[i])
	}
	return found, nil
}

// see sets when the key was replaced, if a change of a Secret did it.
func (e *Entry) see(change *line) {
	isNext := e.Replaced.IsZero() || change.Time.Before(e.Replaced)
	if change.Namespace == e.Namespace && change.Secret == e.Secret && change.Time.After(e.Issued) && isNext {
		e.Replaced = change.Time
	}
}

// eachLine calls f with each line that matters.
func eachLine(log io.Reader, f func(*line)) error {
	for r := bufio.NewReader(log); ; {
		text, err := r.ReadBytes('\n')
		if l, ok := parse(text); ok {
			f(&l)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// parse parses a line, and reports whether it is one of those that matter.
func parse(text []byte) (l line, ok bool) {
	start := bytes.IndexByte(text, '{')
	if start < 0 || json.Unmarshal(text[start:], &l) != nil {
		return line{}, false
	}
	return l, l.Message == messageIssued || l.Message == messageDeleted
}
