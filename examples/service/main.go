// Service serves the pages of tenants over HTTP and shows who changed them, behind
// the walls of examples/walls. Of a request the subdomain says whose it is, at a
// log-in the e-mail domain. Exit status 0 means that requests.txt went as it says.
//
//	go run ./examples/service
//
// It uses the PostgreSQL server of DATABASE_URL, or else starts a private one.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/tenancy"
)

// Page has the tenant in its key, so that each tenant has all names for itself.
type Page struct {
	TenantID string `gorm:"primaryKey" json:"-"`
	Name     string `gorm:"primaryKey" json:"name"`
	Text     string `json:"text"`
}

// statuses tell neither an inactive tenant from none nor another's page from none.
var statuses = demo.Statuses{
	demo.ErrSignIn: http.StatusUnauthorized, audit.ErrCursor: http.StatusBadRequest,
	tenancy.ErrUnknownTenant: http.StatusNotFound, gorm.ErrRecordNotFound: http.StatusNotFound,
}

//go:embed requests.txt
var requests string
var trail = audit.Config{CursorKey: []byte(rand.Text() + rand.Text())} // a real app's is a secret that its instances share

func main() { demo.Main("service", trail, serve, &Page{}) }

func serve(ctx context.Context, app *demo.App) error {
	s := service{app}
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	audited, err := audit.Middleware(audit.HTTPConfig{Actor: app.Sessions.Actor, TrustedProxies: proxies})
	if err := errors.Join(err, app.Register(ctx, "acme", "hal", "(gone)")); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", statuses.JSON(s.login))
	mux.Handle("PUT /pages/{name}", s.inTenant(s.save))
	mux.Handle("GET /pages/{name}", s.inTenant(s.read))
	mux.Handle("GET /pages/{name}/history", s.inTenant(s.history))
	return errors.Join(app.Serve(ctx, audited(mux), requests), app.ShowEvents(ctx, "user.login"))
}

type service struct{ *demo.App } // the handle, and who has signed in

// login refuses all alike, but the trail tells them apart, by tenant or without one.
func (s service) login(r *http.Request) (any, error) {
	email := r.PostFormValue("email")
	tenant, err := tenancy.Resolve(r.Context(), s.DB, tenancy.ByDomain(email[strings.LastIndex(email, "@")+1:]))
	if err != nil && !errors.Is(err, tenancy.ErrUnknownTenant) {
		return nil, err
	}
	actor, _ := audit.ActorFromContext(r.Context()) // anonymous, with an address
	event := audit.Event{Action: "user.login", ResourceType: "users", ResourceID: email, Outcome: audit.Failure}
	token := s.Sessions.New(tenant, email, r.PostFormValue("password"))
	if token != "" {
		actor.ID, actor.Kind, event.Outcome = email, audit.User, audit.Success
	}
	ctx := audit.WithActor(tenancy.WithTenant(r.Context(), tenant), actor)
	if err := audit.Record(ctx, s.DB, event); err != nil || token == "" {
		return nil, cmp.Or(err, demo.ErrSignIn)
	}
	return map[string]string{"token": token}, nil
}

// inTenant answers in the tenant of the subdomain, those who signed in to it.
func (s service) inTenant(answer func(*http.Request) (any, error)) http.Handler {
	return statuses.JSON(func(r *http.Request) (any, error) {
		tenant, err := tenancy.Resolve(r.Context(), s.DB, tenancy.BySlug(strings.TrimSuffix(r.Host, ".example.test")))
		if err != nil || s.Sessions.Of(r).Tenant != tenant {
			return nil, cmp.Or(err, demo.ErrSignIn)
		}
		return answer(r.WithContext(tenancy.WithTenant(r.Context(), tenant)))
	})
}

func (s service) save(r *http.Request) (any, error) {
	page := Page{Name: r.PathValue("name"), Text: r.PostFormValue("text")}
	return &page, s.WithContext(r.Context()).Clauses(clause.OnConflict{UpdateAll: true}).Create(&page).Error
}

func (s service) read(r *http.Request) (any, error) {
	var page Page
	return &page, s.WithContext(r.Context()).Take(&page, "name = ?", r.PathValue("name")).Error
}

// history answers with the page's entries, newest first, and where to go on.
func (s service) history(r *http.Request) (any, error) {
	tenant, _ := tenancy.FromContext(r.Context())
	filter := audit.Filter{ResourceType: "pages", ResourceID: audit.ResourceID(tenant, r.PathValue("name")), Limit: 2}
	page, err := audit.List(r.Context(), s.DB, filter, r.FormValue("cursor"))
	if err == nil && len(page.Entries) == 0 {
		err = gorm.ErrRecordNotFound
	}
	entries := make([]map[string]any, len(page.Entries))
	for i, e := range page.Entries {
		changes, changesErr := audit.Changes(e)
		err = errors.Join(err, changesErr)
		entries[i] = map[string]any{"when": e.CreatedAt, "who": e.ActorID, "from": e.IPAddress, "did": e.Action, "changes": changes}
	}
	return map[string]any{"entries": entries, "next": page.Next}, err
}
