package demo

import (
	"crypto/rand"
	"errors"
	"net/http"
	"sync"

	"github.com/courtroll/courtroll/audit"
)

// ErrSignIn is what somebody may who has signed in, and this one has not.
var ErrSignIn = errors.New("nobody has signed in here")

// Session is who has signed in, and to which tenant.
type Session struct{ Tenant, User string }

// Sessions stands for what an app knows of passwords and sessions. The zero value
// is ready. It is safe for concurrent use.
type Sessions struct{ byToken sync.Map }

// password is everybody's.
const password = "sesame"

// New returns the token of a new session, empty for no tenant or another password.
func (s *Sessions) New(tenant, user, given string) (token string) {
	if tenant == "" || given != password {
		return ""
	}
	token = rand.Text()
	s.byToken.Store(token, Session{tenant, user})
	return token
}

// Of returns the session of a request, the zero one of a request that has none.
func (s *Sessions) Of(r *http.Request) Session {
	found, _ := s.byToken.Load(r.Header.Get("Authorization"))
	session, _ := found.(Session)
	return session
}

// Actor returns who makes a request, nobody's name where he has no session.
func (s *Sessions) Actor(r *http.Request) audit.Actor { return audit.Actor{ID: s.Of(r).User} }
