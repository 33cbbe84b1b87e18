package credentials_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-aws-iam-controller/pkg/credentials"
	ststest "kube-aws-iam-controller/test/sts"
)

// bases are the sources of base credentials that end with access keys. Each sets up the environment
// and returns a function that replaces the keys as the source's owner does.
var bases = map[string]func(t *testing.T, srv *ststest.Server) (replace func(life time.Duration) ststest.Keys){
	"from the instance's metadata service": func(t *testing.T, srv *ststest.Server) func(time.Duration) ststest.Keys {
		t.Helper()
		m := instance(t, "")
		return func(life time.Duration) ststest.Keys { return giveSession(t, srv, m, life) }
	},
	"from the endpoint of AWS_CONTAINER_CREDENTIALS_FULL_URI": func(t *testing.T, srv *ststest.Server) func(time.Duration) ststest.Keys {
		t.Helper()
		a := startAgent(t)
		return func(life time.Duration) ststest.Keys { return a.giveNew(srv, life) }
	},
	"from the file ": func(t *testing.T, srv *ststest.Server) func(time.Duration) ststest.Keys {
		t.Helper()
		v := newVolume(t, "credentials")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", v.path())
		return func(time.Duration) ststest.Keys {
			keys := srv.AddUser(account, "controller")
			v.write("[default]\naws_access_key_id = " + keys.AccessKeyID + "\naws_secret_access_key = " + keys.SecretAccessKey + "\n")
			return keys
		}
	},
}

// forEachBase runs a test with each base, with keys that are valid for an hour.
func forEachBase(t *testing.T, test func(t *testing.T, srv *ststest.Server, place string, keys ststest.Keys, replace func(time.Duration) ststest.Keys)) {
	t.Helper()
	for _, place := range slices.Sorted(maps.Keys(bases)) {
		t.Run(place, func(t *testing.T) {
			srv := start(t)
			replace := bases[place](t, srv)
			test(t, srv, place, replace(time.Hour), replace)
		})
	}
}

func TestAssume_RefusedKeysAreNamedByTheirSource(t *testing.T) {
	forEachBase(t, func(t *testing.T, srv *ststest.Server, place string, keys ststest.Keys, replace func(time.Duration) ststest.Keys) {
		t.Helper()
		clock := newClock()
		client := readyClient(t, func(o *credentials.Options) { o.Now = clock.Now })
		srv.Revoke(keys.AccessKeyID)
		_, err := client.Assume(t.Context(), session(t, appRole))
		wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", place, appRole)
		_, err = client.Caller(t.Context())
		wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", place, "Renew")

		replace(time.Hour)
		clock.Step(credentials.CallerRetry)
		assume(t, client, session(t, appRole))
	})
}

func TestAssume_ReplacedKeysCostNoFailure(t *testing.T) {
	forEachBase(t, func(t *testing.T, srv *ststest.Server, _ string, keys ststest.Keys, replace func(time.Duration) ststest.Keys) {
		t.Helper()
		client := readyClient(t)
		srv.Revoke(keys.AccessKeyID)
		replace(time.Hour)
		assume(t, client, session(t, appRole))
	})
}

// STS never sees a key that is about to expire if there is another.
func TestAssume_RenewsKeysBeforeTheyExpire(t *testing.T) {
	forEachBase(t, func(t *testing.T, srv *ststest.Server, place string, _ ststest.Keys, replace func(time.Duration) ststest.Keys) {
		t.Helper()
		if place == "from the file " {
			return // a user's keys do not expire
		}
		keys := replace(4 * time.Minute) // less than expiryWindow
		client := readyClient(t)
		for range 2 {
			srv.Revoke(keys.AccessKeyID)
			keys = replace(4 * time.Minute)
			assume(t, client, session(t, appRole))
		}
		// New keys can belong to another identity: STS is asked for it before their second use.
		if got, want := operations(srv), []string{"GetCallerIdentity", "AssumeRole", "GetCallerIdentity", "AssumeRole"}; !slices.Equal(got, want) {
			t.Errorf("STS got %q, want %q", got, want)
		}
	})
}

func TestIntermediateRole_OnAnyBase(t *testing.T) {
	forEachBase(t, func(t *testing.T, srv *ststest.Server, place string, keys ststest.Keys, replace func(time.Duration) ststest.Keys) {
		t.Helper()
		clock := newClock()
		now := func(o *credentials.Options) { o.Now = clock.Now }
		srv.Deny(hub)
		client := newClient(t, through(t), now)
		_, err := client.Assume(t.Context(), session(t, appRole))
		wantError(t, srv, err, credentials.Denied, "AccessDenied", hub+", the role of --assume-role", "trust policy", "123456789012:")

		srv.Allow(hub)
		clock.Step(credentials.CallerRetry)
		assume(t, client, session(t, appRole))
		calls := srv.Calls()
		if last := calls[len(calls)-1]; last.CallerRoleARN != hub || last.RoleARN != appRole {
			t.Errorf("role %s was assumed by %s", last.RoleARN, last.CallerRoleARN)
		}
		caller, err := client.Caller(t.Context())
		if err != nil || caller.MaxDuration(12*time.Hour) != time.Hour {
			t.Errorf("sessions last %s, %v", caller.MaxDuration(12*time.Hour), err)
		}

		srv.Revoke(keys.AccessKeyID)
		client = newClient(t, through(t), now)
		_, err = client.Assume(t.Context(), session(t, appRole))
		wantError(t, srv, err, credentials.Expired, "InvalidClientTokenId", place, hub)
		replace(time.Hour)
		clock.Step(credentials.CallerRetry)
		assume(t, client, session(t, appRole))
	})
}

// A base without credentials is named behind an intermediate role too, and the error does not blame
// STS.
func TestIntermediateRole_WithoutBaseCredentials(t *testing.T) {
	srv := start(t)
	var observed []string
	_, err := newClient(t, through(t), observing(&observed)).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", "AWS_ACCESS_KEY_ID")
	if len(observed) > 0 {
		t.Errorf("observed %q", observed)
	}
}

func TestIntermediateRole_RejectedBySTS(t *testing.T) {
	srv := start(t)
	once(t)
	signIn(t, srv.AddUser(account, "alice"))
	srv.SetFault(ststest.ServiceUnavailable)
	_, err := newClient(t, through(t)).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Unavailable, "ServiceUnavailable", hub, "--assume-role")
}

// observing collects operation and code of each observed attempt.
func observing(observed *[]string) func(*credentials.Options) {
	var mu sync.Mutex
	return func(o *credentials.Options) {
		o.Observe = func(operation, code string, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			*observed = append(*observed, operation+" "+code)
		}
	}
}

func TestSharedCredentialsFile_Errors(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, c := range []struct {
		name, text, want string // no text: no file
	}{
		{"missing", "", "does not exist"},
		{"empty", "\n", "is empty"},
		{"of another profile", "[prod]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = " + secret + "\n", "has no section [default]"},
		{"without a section", "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = " + secret + "\n", "has no section [default]"},
		{"with half of a key", "[default]\naws_secret_access_key = " + secret + "\n", "has not both aws_access_key_id and aws_secret_access_key in section [default]"},
		{"in another form", `{"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "` + secret + `"}`, "has no section [default]"},
		{"with keys under other names", "[default]\nAccessKeyId = AKIAEXAMPLE\nSecretAccessKey = " + secret + "\n", "has not both aws_access_key_id and aws_secret_access_key in section [default]"},
		{"of a section that is not closed", "[default\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = " + secret + "\n", "has no section [default]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			v := newVolume(t, "credentials")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", v.path())
			old := srv.AddUser(account, "controller")
			good := func(k ststest.Keys) string {
				return "[default]\naws_access_key_id = " + k.AccessKeyID + "\naws_secret_access_key = " + k.SecretAccessKey + "\n"
			}
			v.write(good(old))
			clock := newClock()
			client := readyClient(t, func(o *credentials.Options) { o.Now = clock.Now })
			srv.Revoke(old.AccessKeyID)
			if v.write(c.text); c.text == "" {
				v.remove()
			}
			_, err := client.Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, credentials.Absent, "NoCredentials", "the file "+v.path()+" of AWS_SHARED_CREDENTIALS_FILE "+c.want)
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is shown: %v", err)
			}

			v.write(good(srv.AddUser(account, "controller")))
			clock.Step(credentials.CallerRetry)
			assume(t, client, session(t, appRole))
		})
	}
}

func TestSharedCredentialsFile_Unreadable(t *testing.T) {
	srv := start(t)
	folder := t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(folder, "file", "credentials"))
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newClient(t).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Absent, "NoCredentials", "file/credentials of AWS_SHARED_CREDENTIALS_FILE cannot be read (not a directory)")
}

func TestNew_FailsOnBrokenSharedCredentialsFile(t *testing.T) {
	start(t)
	v := newVolume(t, "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", v.path())
	v.write("[default]\naws_secret_access_key = wJalrXUtnFEMI\n")
	_, err := credentials.New(t.Context(), options())
	if err == nil || !strings.Contains(err.Error(), v.path()+" of AWS_SHARED_CREDENTIALS_FILE has not both") || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "wJalr") {
		t.Errorf("got %v", err)
	}
}

// A profile can refer to all of these sources. The error is as specific as possible.
func TestProfile_Errors(t *testing.T) {
	for _, c := range []struct {
		name, profile string
		order         func(*ststest.Server)
		kind          credentials.Kind
		code          string
		names         []string
	}{
		{
			"a role on top of the instance's", "role_arn = " + hub + "\ncredential_source = Ec2InstanceMetadata\n", func(srv *ststest.Server) { srv.Deny(hub) },
			credentials.Denied, "AccessDenied",
			[]string{"profile", hub},
		},
		{"a process that fails", "credential_process = echo a-secret-of-the-process\n", func(*ststest.Server) {}, credentials.Absent, "NoCredentials", []string{"profile", "credential_process failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t)
			once(t)
			giveSession(t, srv, instance(t, ""), time.Hour)
			if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte("[default]\n"+c.profile), 0o600); err != nil { //nolint:gosec // the test set it
				t.Fatal(err)
			}
			c.order(srv)
			_, err := newClient(t).Assume(t.Context(), session(t, appRole))
			wantError(t, srv, err, c.kind, c.code, c.names...)
			if strings.Contains(err.Error(), "a-secret") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

// The access key exists, but with another secret.
func TestCaller_WrongSecretAccessKey(t *testing.T) {
	srv := start(t)
	keys := srv.AddUser(account, "controller")
	signIn(t, ststest.Keys{AccessKeyID: keys.AccessKeyID, SecretAccessKey: "wrong"})
	_, err := newClient(t).Assume(t.Context(), session(t, appRole))
	wantError(t, srv, err, credentials.Expired, "SignatureDoesNotMatch", "from the file "+os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "Renew")
}
