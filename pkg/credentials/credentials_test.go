package credentials_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"kube-aws-iam-controller/pkg/credentials"
)

const secretKey, token = "s3cr3t/Key", "IQoJ/t0ken"

// holder is a struct that holds credentials, exported and unexported, as value and pointer.
type holder struct {
	Name        string
	Credentials credentials.Credentials
	Pointer     *credentials.Credentials
	Key         credentials.Redacted
	ByKey       map[credentials.Redacted]credentials.Redacted
	List        []credentials.Redacted
	Any         any
	hidden      credentials.Credentials
	hiddenKey   credentials.Redacted
}

func example() credentials.Credentials {
	return credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: credentials.Redact(secretKey), SessionToken: credentials.Redact(token)}
}

func full() holder {
	c := example()
	return holder{
		Name: "x", Credentials: c, Pointer: &c, Key: c.SecretAccessKey,
		ByKey: map[credentials.Redacted]credentials.Redacted{c.SessionToken: c.SecretAccessKey},
		List:  []credentials.Redacted{c.SecretAccessKey, c.SessionToken}, Any: c.SessionToken,
		hidden: c, hiddenKey: c.SecretAccessKey,
	}
}

func wantRedacted(t *testing.T, text string) {
	t.Helper()
	for _, leak := range []string{secretKey, token, fmt.Sprintf("%x", secretKey), fmt.Sprintf("%X", token), "s3cr3t", "t0ken"} {
		if strings.Contains(text, leak) {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

var _ encoding.TextMarshaler = credentials.Redacted{}

func TestRedacted_EveryVerb(t *testing.T) {
	h := full()
	for _, value := range []any{h, &h, h.Credentials, h.Pointer, h.Key, h.ByKey, h.List, h.Any, []any{h, h.Key}, map[string]any{"a": h}} {
		for verb := range strings.SplitSeq("v +v #v s +s #s q +q #q x #x X #X d o b c U e g t p T 10s -40q .2s .1v", " ") {
			wantRedacted(t, fmt.Sprintf("%"+verb, value))
		}
		wantRedacted(t, fmt.Sprint(value)+fmt.Sprintln(value))
		wantRedacted(t, fmt.Errorf("failed: %v", value).Error())
	}
	for _, verb := range []string{"%v", "%s", "%d", "%x", "%#v", "%q"} {
		if got := fmt.Sprintf(verb, h.Key); got != "[redacted]" || h.Key.String() != got {
			t.Errorf("prints as %q with %s", got, verb)
		}
	}
}

func TestRedacted_IsComparedByItsSecret(t *testing.T) {
	if credentials.Redact("a") != credentials.Redact(strings.ToLower("A")) || credentials.Redact("a") == credentials.Redact("b") {
		t.Error("equal secrets differ, or different ones do not")
	}
	if credentials.Redact("") != (credentials.Redacted{}) || (credentials.Redacted{}).Reveal() != "" || credentials.Redact("a").Reveal() != "a" {
		t.Error("a secret is not what it was made of")
	}
	wantRedacted(t, fmt.Sprintf("%s", credentials.Redacted{}))
}

func TestRedacted_EveryEncoding(t *testing.T) {
	h := full()
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	wantRedacted(t, string(encoded))
	if !strings.Contains(string(encoded), `"SecretAccessKey":"[redacted]"`) {
		t.Errorf("JSON is %s", encoded)
	}
	if encoded, err = xml.Marshal(h.Credentials); err != nil {
		t.Fatal(err)
	}
	wantRedacted(t, string(encoded))
}

func TestRedacted_Logs(t *testing.T) {
	h := full()
	var out bytes.Buffer
	core := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zapcore.DebugLevel))
	core.Info("x", zap.Any("a", h), zap.Any("b", h.Key), zap.Stringer("c", h.Key), zap.Reflect("d", h.Credentials), zap.Any("e", h.List), zap.Inline(zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error {
		return e.AddReflected("f", h.Pointer)
	})))
	core.Sugar().Infow("x", "a", h, "b", h.Key)
	core.Sugar().Infof("%v %s", h, h.Key)
	log := zapr.NewLogger(core)
	log.Info("x", "a", h, "b", h.Key, "c", h.Pointer, "d", h.ByKey)
	log.Error(fmt.Errorf("failed: %v", h), "x", "a", h.Any)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", h, "b", h.Key)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", h, "b", h.Key)
	wantRedacted(t, out.String())
	if n := strings.Count(out.String(), "[redacted]"); n < 20 {
		t.Errorf("only %d secrets were logged: %s", n, out.String())
	}
}

// A panic prints its value in its own way, and ends the process: the test runs itself in another
// one.
func TestRedacted_Panics(t *testing.T) {
	values := map[string]func() any{
		"secret":      func() any { return full().Key },
		"credentials": func() any { return full().Credentials },
		"pointer":     func() any { return full().Pointer },
		"holder":      func() any { return full() },
		"error":       func() any { return fmt.Errorf("failed: %+v", full()) },
		"text":        func() any { return fmt.Sprintf("%#v", full()) },
	}
	const which = "PANIC_WITH"
	if value, ok := values[os.Getenv(which)]; ok {
		panic(value())
	}
	for name := range values {
		t.Run(name, func(t *testing.T) {
			again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRedacted_Panics$") //nolint:gosec // G204: this very test
			again.Env = append(os.Environ(), which+"="+name)
			out, err := again.CombinedOutput()
			if _, died := errors.AsType[*exec.ExitError](err); !died || !strings.Contains(string(out), "panic: ") {
				t.Fatalf("no panic: %v, %s", err, out)
			}
			wantRedacted(t, string(out))
		})
	}
}

func TestUsableUntil(t *testing.T) {
	issued := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name       string
		life, want time.Duration
	}{
		{"twelve hours: five minutes early", 12 * time.Hour, 12*time.Hour - 5*time.Minute},
		{"an hour: five minutes early", time.Hour, 55 * time.Minute},
		{"fifty minutes: a tenth is five minutes", 50 * time.Minute, 45 * time.Minute},
		{"fifteen minutes: a tenth early", 15 * time.Minute, 13*time.Minute + 30*time.Second},
		{"five seconds: whole seconds", 5 * time.Second, 4 * time.Second},
		{"no life", 0, 0},
		{"less than none: never later than the end", -time.Hour, -time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := credentials.Credentials{Issued: issued, Expires: issued.Add(c.life)}.UsableUntil().Sub(issued)
			if got != c.want {
				t.Errorf("usable for %s, want %s", got, c.want)
			}
		})
	}
}
