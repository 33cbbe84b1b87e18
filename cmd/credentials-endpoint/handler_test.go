package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/secret/keys"
)

// newTestHandler returns a handler of a volume and its log. Its clock stands at now.
func newTestHandler(volume *testVolume) (*handler, *testLog) {
	var log testLog
	h := newHandler(secretVolume(volume.dir), slog.New(slog.NewTextHandler(&log, nil)))
	h.now = func() time.Time { return now }
	return h, &log
}

// testLog is a log that can be read while a server writes it.
type testLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestRespond_Credentials(t *testing.T) {
	volume := newTestVolume(t)
	files := goodFiles(t)
	volume.mustPublish(t, files)
	h, log := newTestHandler(volume)
	got := h.respond(request{method: "GET", path: "/", authorization: []string{goodToken}})
	if got.status != statusOK || string(got.body) != files[keys.ContainerJSON] {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if log.String() != "" {
		t.Errorf("logged %s", log)
	}
}

func TestRespond_RotationIsVisibleAtOnce(t *testing.T) {
	volume := newTestVolume(t)
	h, _ := newTestHandler(volume)
	files := goodFiles(t)
	for _, expires := range []time.Time{now.Add(time.Hour), now.Add(2 * time.Hour)} {
		files[keys.ContainerJSON] = containerJSON(t, expires)
		volume.mustPublish(t, files)
		if got := h.respond(request{method: "GET", path: "/", authorization: []string{goodToken}}); string(got.body) != files[keys.ContainerJSON] {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
}

func TestRespond_OnlyTheTokenAuthorizes(t *testing.T) {
	twice := goodToken + goodToken
	for name, test := range map[string]struct {
		token   string // in the Secret
		headers []string
		want    string
	}{
		"no header":                       {goodToken, nil, "MissingToken"},
		"empty header":                    {goodToken, []string{""}, "MissingToken"},
		"another token":                   {goodToken, []string{strings.ToUpper(goodToken)}, "WrongToken"},
		"prefix of the token":             {goodToken, []string{goodToken[:42]}, "WrongToken"},
		"token and more":                  {goodToken, []string{goodToken + "x"}, "WrongToken"},
		"token and a space":               {goodToken, []string{goodToken + " "}, "WrongToken"},
		"token as a bearer":               {goodToken, []string{"Bearer " + goodToken}, "WrongToken"},
		"two headers, one right":          {goodToken, []string{"x", goodToken}, "WrongToken"},
		"two headers, both right":         {goodToken, []string{goodToken, goodToken}, "WrongToken"},
		"a list of tokens":                {goodToken, []string{goodToken + ", " + goodToken}, "WrongToken"},
		"the token twice":                 {goodToken, []string{twice}, "WrongToken"},
		"empty file, no header":           {"", nil, "TokenUnavailable"},
		"empty file, empty header":        {"", []string{""}, "TokenUnavailable"},
		"half a file, the same half":      {goodToken[:20], []string{goodToken[:20]}, "TokenUnavailable"},
		"file of 31 characters, the same": {goodToken[:31], []string{goodToken[:31]}, "TokenUnavailable"},
		"file ends in a newline":          {goodToken + "\n", []string{goodToken}, "TokenUnavailable"},
		"file is a newline":               {"\n", []string{""}, "TokenUnavailable"},
		"file has a newline, same header": {goodToken + "\n", []string{goodToken + "\n"}, "TokenUnavailable"},
		"file has a space, same header":   {goodToken + " x", []string{goodToken + " x"}, "TokenUnavailable"},
		"file has zeros, same header":     {strings.Repeat("\x00", 43), []string{strings.Repeat("\x00", 43)}, "TokenUnavailable"},
		"file is not ASCII, same header":  {goodToken + "é", []string{goodToken + "é"}, "TokenUnavailable"},
		"file is too large, same header":  {strings.Repeat("x", maxFileSize+1), []string{strings.Repeat("x", maxFileSize+1)}, "TokenUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			volume := newTestVolume(t)
			files := goodFiles(t)
			files[keys.EndpointToken] = test.token
			volume.mustPublish(t, files)
			checkFailure(t, volume, test.headers, test.want)
		})
	}
}

// checkFailure requires a response with the error code, and that neither it nor the log has a
// secret.
func checkFailure(t *testing.T, volume *testVolume, headers []string, code string) {
	t.Helper()
	h, log := newTestHandler(volume)
	got := h.respond(request{method: "GET", path: "/", authorization: headers})
	wantStatus := http.StatusServiceUnavailable
	if code == missingToken.code || code == wrongToken.code {
		wantStatus = http.StatusForbidden
	}
	if got.status != wantStatus {
		t.Errorf("got status %d, want %d", got.status, wantStatus)
	}
	var body map[string]string
	must(t, json.Unmarshal(got.body, &body))
	if body["Code"] != code || body["code"] != code || body["Message"] == "" || body["message"] != body["Message"] {
		t.Errorf("got %s, want code %s", got.body, code)
	}
	if !strings.Contains(log.String(), "code="+code) {
		t.Errorf("logged %q, want code %s", log, code)
	}
	for _, secret := range []string{goodToken[:20], secretKey, "session-token", "ASIA"} {
		if strings.Contains(log.String()+string(got.body), secret) {
			t.Errorf("%q is in the response %s or in the log %s", secret, got.body, log)
		}
	}
}

func TestRespond_OnlyUsableCredentials(t *testing.T) {
	whole := containerJSON(t, now.Add(time.Hour))
	for name, test := range map[string]struct{ content, want string }{
		"empty":                 {"", "CredentialsUnavailable"},
		"half-written":          {whole[:len(whole)/2], "CredentialsUnavailable"},
		"one byte short":        {whole[:len(whole)-1], "CredentialsUnavailable"},
		"written twice":         {whole + whole, "CredentialsUnavailable"},
		"null":                  {"null", "CredentialsUnavailable"},
		"a list":                {"[" + whole + "]", "CredentialsUnavailable"},
		"no access key":         {without(t, whole, "AccessKeyId"), "CredentialsUnavailable"},
		"no secret key":         {without(t, whole, "SecretAccessKey"), "CredentialsUnavailable"},
		"no session token":      {without(t, whole, "Token"), "CredentialsUnavailable"},
		"no expiration":         {without(t, whole, "Expiration"), "CredentialsUnavailable"},
		"expiration is no time": {strings.Replace(whole, `"Expiration":"`, `"Expiration":"x`, 1), "CredentialsUnavailable"},
		"too large":             {whole + strings.Repeat(" ", maxFileSize), "CredentialsUnavailable"},
		"expires now":           {containerJSON(t, now), "CredentialsExpired"},
		"expired":               {containerJSON(t, now.Add(-time.Hour)), "CredentialsExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			volume := newTestVolume(t)
			volume.mustPublish(t, map[string]string{keys.EndpointToken: goodToken, keys.ContainerJSON: test.content})
			checkFailure(t, volume, []string{goodToken}, test.want)
		})
	}
}

// without returns a JSON object without a field.
func without(t *testing.T, object, field string) string {
	t.Helper()
	var fields map[string]string
	must(t, json.Unmarshal([]byte(object), &fields))
	delete(fields, field)
	text, err := json.Marshal(fields)
	must(t, err)
	return string(text)
}

func TestRespond_MissingFileComesBack(t *testing.T) {
	volume := newTestVolume(t)
	checkFailure(t, volume, []string{goodToken}, "TokenUnavailable")
	volume.mustPublish(t, map[string]string{keys.EndpointToken: goodToken})
	checkFailure(t, volume, []string{goodToken}, "CredentialsUnavailable")
	volume.mustPublish(t, goodFiles(t))
	h, _ := newTestHandler(volume)
	if got := h.respond(request{method: "GET", path: "/", authorization: []string{goodToken}}); got.status != statusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestRespond_OtherRequests(t *testing.T) {
	volume := newTestVolume(t)
	volume.mustPublish(t, goodFiles(t))
	for name, test := range map[string]struct {
		request request
		want    int
	}{
		"health needs no token": {request{method: "GET", path: healthPath}, http.StatusOK},
		"POST":                  {request{method: "POST", path: "/", authorization: []string{goodToken}}, http.StatusMethodNotAllowed},
		"lower case":            {request{method: "get", path: "/", authorization: []string{goodToken}}, http.StatusMethodNotAllowed},
		"no path":               {request{method: "GET", path: "", authorization: []string{goodToken}}, http.StatusNotFound},
		"file of the Secret":    {request{method: "GET", path: "/container.json", authorization: []string{goodToken}}, http.StatusNotFound},
		"path upwards":          {request{method: "GET", path: "/../", authorization: []string{goodToken}}, http.StatusNotFound},
		"absolute URL":          {request{method: "GET", path: "http://127.0.0.1/", authorization: []string{goodToken}}, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newTestHandler(volume)
			got := h.respond(test.request)
			if got.status != test.want || bytes.Contains(got.body, []byte(secretKey)) {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.want)
			}
		})
	}
}

func TestReason_SaysWhatToDo(t *testing.T) {
	for err, want := range map[error]string{fs.ErrNotExist: "subPath", fs.ErrPermission: "fsGroup"} {
		if got := reason(fmt.Errorf("open: %w", err)); !strings.Contains(got, want) {
			t.Errorf("%v: got %q, want something about %s", err, got, want)
		}
	}
}

func TestFailureLog_EachCodeOnceAMinute(t *testing.T) {
	var log testLog
	failures := newFailureLog(slog.New(slog.NewTextHandler(&log, nil)))
	for second := range 120 {
		at := now.Add(time.Duration(second) * time.Second)
		failures.record(wrongToken, at)
		failures.record(missingToken, at)
	}
	got := map[string]int{}
	for line := range strings.Lines(log.String()) {
		for _, code := range []string{"WrongToken", "MissingToken"} {
			got[code] += strings.Count(line, "code="+code)
		}
	}
	if want := map[string]int{"WrongToken": 2, "MissingToken": 2}; !maps.Equal(got, want) {
		t.Errorf("logged %v, want %v", got, want)
	}
}

func TestStatusText_IsThatOfHTTP(t *testing.T) {
	for _, status := range slices.Sorted(maps.Keys(statusText)) {
		if want := http.StatusText(status); statusText[status] != want {
			t.Errorf("%d is %q, want %q", status, statusText[status], want)
		}
	}
	if httpDate != http.TimeFormat {
		t.Errorf("got %q, want %q", httpDate, http.TimeFormat)
	}
}
