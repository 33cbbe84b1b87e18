package credentials

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// answerTime is the time at which the answers of these tests are read.
var answerTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// credentialSet returns one set of an answer of CreateSession: complete, and valid for an hour but
// for the changes. An empty value leaves the field out.
func credentialSet(changes ...string) string {
	fields := map[string]string{
		"accessKeyId": "ASIAEXAMPLE", "secretAccessKey": "secret", "sessionToken": "token", "expiration": "2026-01-01T13:00:00Z",
	}
	for change := range slices.Chunk(changes, 2) {
		fields[change[0]] = change[len(change)-1]
	}
	var all []string
	for name, value := range fields {
		if value != "" {
			all = append(all, `"`+name+`":"`+value+`"`)
		}
	}
	return `{"credentials":{` + strings.Join(all, ",") + `}}`
}

// answerOf returns the body of an answer with some sets.
func answerOf(sets ...string) string { return `{"credentialSet":[` + strings.Join(sets, ",") + `]}` }

func readAnswer(status int, header map[string]string, body io.Reader) (aws.Credentials, error) {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return readSession(r, answerTime)
}

func TestReadSession_Credentials(t *testing.T) {
	good := answerOf(credentialSet())
	type headers = map[string]string
	for name, c := range map[string]struct {
		status int
		header headers
		body   string
	}{
		"201":                     {http.StatusCreated, nil, good},
		"200":                     {http.StatusOK, nil, good},
		"an error's name with it": {http.StatusOK, headers{"X-Amzn-Errortype": "AccessDeniedException"}, good},
		"as long as it can be":    {http.StatusCreated, nil, strings.Repeat(" ", maxSessionAnswer-len(good)) + good},
		"fields that are unknown": {http.StatusCreated, nil, `{"subjectArn":"arn",` + good[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAnswer(c.status, c.header, strings.NewReader(c.body))
			want := aws.Credentials{
				AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
				Source: rolesAnywhereName, CanExpire: true, Expires: answerTime.Add(time.Hour),
			}
			if err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// An answer that is not one of IAM Roles Anywhere, or that holds no usable credentials, gives none.
func TestReadSession_Unusable(t *testing.T) {
	good := answerOf(credentialSet())
	for name, c := range map[string]struct {
		status int
		body   string
		code   string
	}{
		"no access key ID":     {http.StatusCreated, answerOf(credentialSet("accessKeyId", "")), "BadAnswer"},
		"no secret access key": {http.StatusCreated, answerOf(credentialSet("secretAccessKey", "")), "BadAnswer"},
		"no session token":     {http.StatusCreated, answerOf(credentialSet("sessionToken", "")), "BadAnswer"},
		"no expiration":        {http.StatusCreated, answerOf(credentialSet("expiration", "")), "BadAnswer"},
		"expired":              {http.StatusCreated, answerOf(credentialSet("expiration", "2026-01-01T11:59:59Z")), "BadAnswer"},
		"expires now":          {http.StatusCreated, answerOf(credentialSet("expiration", "2026-01-01T12:00:00Z")), "BadAnswer"},
		"an empty set":         {http.StatusCreated, answerOf("{}"), "BadAnswer"},
		"a set that is null":   {http.StatusCreated, answerOf("null"), "BadAnswer"},

		"two sets":           {http.StatusCreated, answerOf(credentialSet(), credentialSet()), "NoAnswer"},
		"no set":             {http.StatusCreated, answerOf(), "NoAnswer"},
		"no field":           {http.StatusCreated, "{}", "NoAnswer"},
		"null":               {http.StatusCreated, "null", "NoAnswer"},
		"empty":              {http.StatusOK, "", "NoAnswer"},
		"a page":             {http.StatusOK, "<html>sign in</html>", "NoAnswer"},
		"a list":             {http.StatusOK, "[" + good + "]", "NoAnswer"},
		"a set without list": {http.StatusOK, `{"credentialSet":` + credentialSet() + `}`, "NoAnswer"},
		"no time":            {http.StatusCreated, answerOf(credentialSet("expiration", "soon")), "NoAnswer"},
		"more behind it":     {http.StatusCreated, good + "<html>", "NoAnswer"},
		"cut off":            {http.StatusCreated, good[:len(good)-1], "NoAnswer"},
		"too long":           {http.StatusCreated, strings.Repeat(" ", maxSessionAnswer-len(good)+1) + good, "NoAnswer"},

		"302":                      {http.StatusFound, "", "NoAnswer"},
		"302 with credentials":     {http.StatusFound, good, "NoAnswer"},
		"307 with credentials":     {http.StatusTemporaryRedirect, good, "NoAnswer"},
		"403 with credentials":     {http.StatusForbidden, good, "NoAnswer"},
		"403 of a proxy":           {http.StatusForbidden, "<html>", "NoAnswer"},
		"429 of a proxy":           {http.StatusTooManyRequests, "<html>", "NoAnswer"},
		"a refusal without a code": {http.StatusForbidden, `{"message":"no"}`, "NoAnswer"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAnswer(c.status, nil, strings.NewReader(c.body))
			kind, code := classify(err)
			if err == nil || got != (aws.Credentials{}) || kind != Unavailable || code != c.code {
				t.Errorf("got %+v, %d %s: %v", got, kind, code, err)
			}
		})
	}
	t.Run("a connection that breaks", func(t *testing.T) {
		got, err := readAnswer(http.StatusCreated, nil, io.MultiReader(strings.NewReader(good), iotest.ErrReader(errors.New("reset"))))
		if _, code := classify(err); err == nil || got != (aws.Credentials{}) || code != "NoAnswer" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// A code becomes part of messages and events: only what looks like one of AWS is taken.
func TestReadSession_ErrorCode(t *testing.T) {
	long := strings.Repeat("Exception", 8)[:maxCode]
	for name, c := range map[string]struct{ header, body, code string }{
		"in the header":              {"AccessDeniedException", "", "AccessDeniedException"},
		"with a URI":                 {"AccessDeniedException:http://internal.amazon.com/coral/", "", "AccessDeniedException"},
		"with a namespace":           {"com.amazonaws.rolesanywhere#AccessDeniedException", "", "AccessDeniedException"},
		"with both":                  {"com.amazonaws.rolesanywhere#AccessDeniedException:http://x/#y", "", "AccessDeniedException"},
		"in the body":                {"", `{"__type":"com.amazonaws.rolesanywhere#ValidationException"}`, "ValidationException"},
		"in both: the header counts": {"AccessDeniedException", `{"__type":"ValidationException"}`, "AccessDeniedException"},
		"beside a page":              {"AccessDeniedException", "<html>", "AccessDeniedException"},
		"with digits":                {"EC2ThrottledException", "", "EC2ThrottledException"},
		"of 64 letters":              {long, "", long},

		"of 65 letters":        {long + "x", "", "NoAnswer"},
		"of 65 in the body":    {"", `{"__type":"` + long + `x"}`, "NoAnswer"},
		"with a space":         {"Access Denied", "", "NoAnswer"},
		"with a hyphen":        {"Access-Denied", "", "NoAnswer"},
		"with a dot":           {"Access.Denied", "", "NoAnswer"},
		"with a line break":    {"", `{"__type":"Access\nDenied"}`, "NoAnswer"},
		"with a letter of é":   {"", `{"__type":"AccèsRefusé"}`, "NoAnswer"},
		"with an Arabic digit": {"", `{"__type":"Error٣"}`, "NoAnswer"},
		"empty":                {"", `{"__type":""}`, "NoAnswer"},
		"of a namespace only":  {"com.amazonaws.rolesanywhere#", "", "NoAnswer"},
		"of a URI only":        {":http://internal.amazon.com/coral/", "", "NoAnswer"},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{}
			if c.header != "" {
				header["X-Amzn-Errortype"] = c.header
			}
			_, err := readAnswer(http.StatusForbidden, header, strings.NewReader(c.body))
			if _, code := classify(err); err == nil || code != c.code {
				t.Errorf("the code is %q: %v", code, err)
			}
		})
	}
}

// Throttling and failures that pass are retried at once; refusals are not.
func TestReadSession_RetriedKinds(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", "http://127.0.0.1:1")
	source, err := newSessionSource(t.Context(), &RolesAnywhere{}, &aws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status  int
		code    string
		kind    Kind
		retried bool
	}{
		"429 ThrottlingException":       {http.StatusTooManyRequests, "ThrottlingException", Throttled, true},
		"400 ThrottlingException":       {http.StatusBadRequest, "ThrottlingException", Throttled, true},
		"429 TooManyRequestsException":  {http.StatusTooManyRequests, "TooManyRequestsException", Throttled, true},
		"429 of a proxy":                {http.StatusTooManyRequests, "", Unavailable, false},
		"500 InternalFailure":           {http.StatusInternalServerError, "InternalFailure", Unavailable, true},
		"503 of a proxy":                {http.StatusServiceUnavailable, "", Unavailable, true},
		"307":                           {http.StatusTemporaryRedirect, "", Unavailable, false},
		"403 AccessDeniedException":     {http.StatusForbidden, "AccessDeniedException", Denied, false},
		"404 ResourceNotFoundException": {http.StatusNotFound, "ResourceNotFoundException", Rejected, false},
		"400 ValidationException":       {http.StatusBadRequest, "ValidationException", Rejected, false},
	} {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{}
			if c.code != "" {
				header["X-Amzn-Errortype"] = c.code
			}
			_, err := readAnswer(c.status, header, strings.NewReader(`{"message":"no"}`))
			if kind, _ := classify(err); kind != c.kind {
				t.Errorf("the kind is %d: %v", kind, err)
			}
			if got := source.retryer.IsErrorRetryable(err); got != c.retried {
				t.Errorf("retried: %t, %v", got, err)
			}
		})
	}
}
