package pgtest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Verifier returns what PostgreSQL keeps of a password (RFC 5803), for PASSWORD in
// CREATE ROLE and ALTER ROLE. The usual 4,096 rounds are there to slow down who guesses;
// here they would slow down each of a run's thousands of connections instead, and with
// the race detector much more. One round is enough for a random password, and for one
// that everybody knows.
func Verifier(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, 1, sha256.Size)
	if err != nil {
		panic(err) // of parameters that are constants
	}
	key := func(name string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(name))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(key("Client Key"))
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$1:%s$%s:%s", text(salt), text(stored[:]), text(key("Server Key")))
}
