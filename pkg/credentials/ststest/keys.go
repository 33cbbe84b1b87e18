package ststest

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

// String is the access key ID only.
func (k Keys) String() string { return k.AccessKeyID }

// GoString is the access key ID only.
func (k Keys) GoString() string { return "ststest.Keys{" + k.AccessKeyID + "}" }

// keyRetention is how long after its expiry a key is still known, so that it is answered with ExpiredToken. STS, too, calls old enough
// tokens invalid rather than expired.
const keyRetention = time.Hour

// sweepInterval is how often, by the server's clock, expired keys are looked for.
const sweepInterval = time.Minute

// The prefixes of access key IDs and unique IDs (IAM User Guide, "IAM identifiers").
const (
	userKeyPrefix    = "AKIA"
	sessionKeyPrefix = "ASIA"
	userIDPrefix     = "AIDA"
	roleIDPrefix     = "AROA"
)

// key is a known access key: whose it is, and until when.
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
}

func (k *key) temporary() bool { return k.roleARN != "" }

// keyring knows every key that is in use or lately expired. Secrets are not kept but derived from a seed, and so can be listed for ever
// without memory growing with the number of calls.
type keyring struct {
	seed     []byte
	users    uint64 // how many user keys were made, numbered from 0
	sessions uint64 // how many temporary ones
	known    map[string]*key
	swept    time.Time
}

func newKeyring(seed []byte) keyring {
	return keyring{seed: seed, known: map[string]*key{}}
}

func (r *keyring) find(accessKeyID string) (*key, bool) {
	k, known := r.known[accessKeyID]
	return k, known
}

// add gives k the next number and makes it known.
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

// sweep forgets keys that expired long enough ago.
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

// tokenHead starts every session token, as it does STS's: they begin "IQoJb3JpZ2luX2Vj".
const tokenHead = "!\n\torigin_ec"

// derive makes the n-th credentials of a kind. Shapes as AWS's: 16 characters of base32 after the prefix, a secret of 40 characters of
// base64, a token of base64 with 600 to 900 characters.
func (r *keyring) derive(prefix string, n uint64) Keys {
	stream := sha3.NewSHAKE256()
	_, _ = stream.Write(r.seed)
	_, _ = stream.Write([]byte(prefix))
	_, _ = stream.Write(binary.BigEndian.AppendUint64(nil, n))

	var random [10 + 30 + 1 + 660]byte
	_, _ = stream.Read(random[:])
	keys := Keys{
		AccessKeyID:     prefix + base32.StdEncoding.EncodeToString(random[:10]),
		SecretAccessKey: base64.StdEncoding.EncodeToString(random[10:40]),
	}
	if prefix == sessionKeyPrefix {
		length := 440 + int(random[40])%200
		token := append([]byte(tokenHead), random[41:41+length]...)
		keys.SessionToken = base64.StdEncoding.EncodeToString(token)
	}
	return keys
}

// uniqueID is the identifier that IAM gives a user or role: a prefix and 17 characters, here always the same for an ARN.
func uniqueID(prefix, arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// AddUser makes an IAM user with a long-lived key known: arn:aws:iam::<account>:user/<name>. Every call gives the user one more key.
func (s *Server) AddUser(account, name string) Keys {
	arn := fmt.Sprintf("arn:aws:iam::%s:user/%s", account, name)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.add(&key{account: account, arn: arn, userID: uniqueID(userIDPrefix, arn), issued: now}, now)
}

// AddSession gives out keys of a role session as EC2 instance metadata does, without a call that assumes the role. The error is about a
// roleARN that is none.
func (s *Server) AddSession(roleARN, sessionName string, lifetime time.Duration) (Keys, error) {
	role, err := parseRole(roleARN)
	if err != nil {
		return Keys{}, fmt.Errorf("ststest: %w", err)
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.add(newSession(role, sessionName, now, now.Add(lifetime)), now), nil
}

// Revoke makes an access key unknown, as if it had been deleted: calls signed with it are answered with InvalidClientTokenId.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys.known, accessKeyID)
}

// newSession is a temporary key of the role. STS tells times in whole seconds.
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
