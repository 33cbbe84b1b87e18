package sts

import (
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"time"
)

// Keys are AWS credentials. SessionToken is empty for a user's. They print without their secrets.
type Keys struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
}

// String returns the access key ID only.
func (k Keys) String() string { return k.AccessKeyID }

// GoString returns the access key ID only.
func (k Keys) GoString() string { return "sts.Keys{" + k.AccessKeyID + "}" }

// keyRetention is how long after its expiry a key is still known, so that the answer is
// ExpiredToken. STS, too, calls old tokens invalid instead of expired.
const keyRetention = time.Hour

// sweepInterval is how often expired keys are removed, by the server's clock.
const sweepInterval = time.Minute

// The prefixes of access key IDs and unique IDs (IAM User Guide, "IAM identifiers").
const (
	userKeyPrefix    = "AKIA"
	sessionKeyPrefix = "ASIA"
	userIDPrefix     = "AIDA"
	roleIDPrefix     = "AROA"
)

// key is a known access key, with its owner and expiry.
type key struct {
	id     string
	number uint64 // the secrets are derived from it

	account string
	arn     string
	userID  string

	roleARN     string // of a session; empty for a user's key
	sessionName string
	issued      time.Time
	expires     time.Time
	// sourceIdentity is that of a session, and of all that are assumed from it; empty for none.
	sourceIdentity string
}

func (k *key) temporary() bool { return k.roleARN != "" }

// keyring knows every key that is valid or recently expired. Secrets are derived from a seed
// instead of stored, so that all can be listed while memory does not grow with the number of calls.
type keyring struct {
	seed     []byte
	users    uint64 // number of user keys, numbered from 0
	sessions uint64 // number of temporary keys
	known    map[string]*key
	swept    time.Time
	// tokenSize is the size of one session token in four, in bytes; 0 for none.
	tokenSize int
}

func newKeyring(seed []byte) keyring {
	return keyring{seed: seed, known: map[string]*key{}}
}

func (r *keyring) find(accessKeyID string) (*key, bool) {
	k, known := r.known[accessKeyID]
	return k, known
}

// add registers k under the next number.
func (r *keyring) add(k *key, now time.Time) Keys {
	r.sweep(now)
	counter, prefix := &r.users, userKeyPrefix
	if k.temporary() {
		counter, prefix = &r.sessions, sessionKeyPrefix
	}
	k.number = *counter
	*counter++
	keys := r.derive(prefix, k.number)
	k.id = keys.AccessKeyID
	r.known[k.id] = k
	return keys
}

func (r *keyring) keysOf(k *key) Keys {
	if k.temporary() {
		return r.derive(sessionKeyPrefix, k.number)
	}
	return r.derive(userKeyPrefix, k.number)
}

// sweep removes keys that expired more than keyRetention ago.
func (r *keyring) sweep(now time.Time) {
	if now.Sub(r.swept).Abs() < sweepInterval { // Abs: a clock set back must not stop the sweeping
		return
	}
	r.swept = now
	for id, k := range r.known {
		if k.temporary() && now.Sub(k.expires) > keyRetention {
			delete(r.known, id)
		}
	}
}

// secrets ranges over all secrets up to the counters.
func (r keyring) secrets() iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range r.users {
			if !yield(r.derive(userKeyPrefix, n).SecretAccessKey) {
				return
			}
		}
		for n := range r.sessions {
			keys := r.derive(sessionKeyPrefix, n)
			if !yield(keys.SecretAccessKey) || !yield(keys.SessionToken) {
				return
			}
		}
	}
}

// tokenHead starts every session token, as those of STS, which begin with "IQoJb3JpZ2luX2Vj".
const tokenHead = "!\n\torigin_ec"

// derive returns the n-th credentials of a kind, in the forms of AWS: 16 characters of base32 after
// the prefix, a secret of 40 characters of base64, a token of base64 with 600 to 900 characters,
// or tokenSize.
func (r *keyring) derive(prefix string, n uint64) Keys {
	stream := sha3.NewSHAKE256()
	_, _ = stream.Write(r.seed)
	_, _ = stream.Write([]byte(prefix))
	_, _ = stream.Write(binary.BigEndian.AppendUint64(nil, n))

	var random [10 + 30 + 1]byte
	_, _ = stream.Read(random[:])
	keys := Keys{
		AccessKeyID:     prefix + base32.StdEncoding.EncodeToString(random[:10]),
		SecretAccessKey: base64.StdEncoding.EncodeToString(random[10:40]),
	}
	if prefix == sessionKeyPrefix {
		token := make([]byte, base64.StdEncoding.DecodedLen(r.sizeOf(random[40])))
		_, _ = stream.Read(token[copy(token, tokenHead):])
		keys.SessionToken = base64.StdEncoding.EncodeToString(token)
	}
	return keys
}

// sizeOf returns the size of a session token, a multiple of four. random is different for each.
func (r *keyring) sizeOf(random byte) int {
	if r.tokenSize > 0 && random%4 == 0 {
		return r.tokenSize
	}
	return 604 + int(random)%67*4
}

// uniqueID returns the identifier that IAM assigns to a user or role: a prefix and 17 characters,
// here a function of the ARN.
func uniqueID(prefix, arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// AddUser adds an IAM user with a long-lived key: arn:aws:iam::<account>:user/<name>. Every call
// adds one more key to the user.
func (s *Server) AddUser(account, name string) Keys {
	arn := fmt.Sprintf("arn:aws:iam::%s:user/%s", account, name)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.add(&key{account: account, arn: arn, userID: uniqueID(userIDPrefix, arn), issued: now}, now)
}

// AddSession returns keys of a role session as EC2 instance metadata does, without a call that
// assumes the role. It returns an error if roleARN is not the ARN of a role.
func (s *Server) AddSession(roleARN, sessionName string, lifetime time.Duration) (Keys, error) {
	return s.AddSessionOf("", roleARN, sessionName, lifetime)
}

// AddSessionOf is AddSession with a source identity, as IAM Roles Anywhere issues sessions. It is
// passed on to sessions that are assumed from this one; see RefuseSourceIdentity.
func (s *Server) AddSessionOf(sourceIdentity, roleARN, sessionName string, lifetime time.Duration) (Keys, error) {
	role, err := parseRole(roleARN)
	if err != nil {
		return Keys{}, fmt.Errorf("sts: %w", err)
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	session := newSession(role, sessionName, now, now.Add(lifetime))
	session.sourceIdentity = sourceIdentity
	return s.keys.add(session, now), nil
}

// Revoke removes an access key, as if it had been deleted: calls signed with it are answered with
// InvalidClientTokenId.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys.known, accessKeyID)
}

// newSession returns a temporary key of the role. STS uses whole seconds.
func newSession(role role, sessionName string, issued, expires time.Time) *key {
	return &key{
		account:     role.account,
		arn:         role.sessionARN(sessionName),
		userID:      role.id() + ":" + sessionName,
		roleARN:     role.arn,
		sessionName: sessionName,
		issued:      issued.UTC(),
		expires:     expires.UTC().Truncate(time.Second),
	}
}
