package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/quickstart/sample"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// Page is a page of a Wikipedia.
type Page struct {
	TenantID  string `gorm:"primaryKey"`
	Title     string `gorm:"primaryKey"`
	Length    int64
	Revisions int64
	Comment   string // of the last edit
}

// edit is what is taken of a line of the sample.
type edit struct {
	Channel, Page, User, Comment string
	Delta                        int64
}

// LoadEdits makes the sample's edits of some Wikipedias, each by its user in its
// tenant, and returns how many those of each are. Each leaves one entry.
func (a *App) LoadEdits(ctx context.Context, tenants ...string) (map[string]int64, error) {
	text, err := gzip.NewReader(bytes.NewReader(sample.Edits))
	if err != nil {
		return nil, err
	}
	made := map[string]int64{}
	for _, tenant := range tenants {
		made[tenant] = 0
		// As the operator, who registered it long ago and left no entry.
		if err := a.system.WithContext(ctx).Create(&models.NewTenant{ID: tenant, Name: tenant, Slug: tenant}).Error; err != nil {
			return nil, err
		}
	}
	for lines := json.NewDecoder(text); ; {
		var e edit
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			fmt.Fprintf(a.Out, "Edits:    %s\n", strings.TrimPrefix(fmt.Sprint(made), "map"))
			return made, nil
		} else if err != nil {
			return nil, err
		}
		tenant := e.Channel[len("#"):]
		if _, ok := made[tenant]; !ok {
			continue
		}
		if err := e.make(ctx, a.DB, tenant); err != nil {
			return nil, fmt.Errorf("making an edit of %q: %w", e.Page, err)
		}
		made[tenant]++
	}
}

func (e edit) make(ctx context.Context, db *gorm.DB, tenant string) error {
	actor := audit.Actor{ID: e.User}
	if ip, err := netip.ParseAddr(e.User); err == nil { // people without an account are named by their address
		actor = audit.Actor{IP: ip}
	}
	ctx = audit.WithActor(tenancy.WithTenant(ctx, tenant), actor)
	return db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "tenant_id"}, {Name: "title"}},
		DoUpdates: clause.Assignments(map[string]any{
			"length": gorm.Expr("pages.length + ?", e.Delta), "revisions": gorm.Expr("pages.revisions + 1"), "comment": e.Comment,
		}),
	}).Create(&Page{Title: e.Page, Length: e.Delta, Revisions: 1, Comment: e.Comment}).Error
}
