package tests

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

var hashKey = bytes.Repeat([]byte("k"), 40)

// Vault has a secret in each kind of field, and in its key.
type Vault struct {
	SessionToken string `gorm:"primaryKey"`
	TenantID     string
	Label        string
	Phone        string         `audit:"redact"`
	Email        *string        `audit:"hash"`
	Cache        string         `audit:"-"`
	Password     []byte         // by its name
	Note         sql.NullString `audit:"redact"`
	Tags         []string       `gorm:"serializer:json" audit:"redact"`
	Card         Card           `gorm:"embedded;embeddedPrefix:card_"`
	DeletedAt    gorm.DeletedAt
	Keys         []VaultKey `gorm:"foreignKey:Vault"`
}

// Card is embedded.
type Card struct {
	Number string `audit:"redact"`
	CVV    int
}

// VaultKey hangs on a vault by a secret.
type VaultKey struct {
	ID       int64
	TenantID string
	Vault    string `audit:"redact"`
	APIKey   string
}

// canaries makes values that occur nowhere else.
type canaries struct {
	mu  sync.Mutex
	all []string
}

func (c *canaries) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf("canary%05dyrana", len(c.all)+1))
	return c.all[len(c.all)-1]
}

func (c *canaries) vault() *Vault {
	email := c.next()
	return &Vault{
		SessionToken: c.next(), Label: "l", Phone: c.next(), Email: &email, Cache: c.next(), Password: []byte(c.next()),
		Note: sql.NullString{String: c.next(), Valid: true}, Tags: []string{c.next()}, Card: Card{c.next(), 78236491},
		Keys: []VaultKey{{APIKey: c.next()}},
	}
}

// TestSecrets writes secrets in every way and looks for them in all that is
// written beside the table itself: the trail, logs, errors.
func TestSecrets(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: tenancy.Rules{Models: []any{&Vault{}, &VaultKey{}}}, HashKey: hashKey})
	must(t, b.Owner.AutoMigrate(&Vault{}, &VaultKey{}))
	must(t, b.Owner.Exec("GRANT ALL ON ALL TABLES IN SCHEMA public TO "+b.AppRole).Error)
	must(t, b.Owner.Exec("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "+b.AppRole).Error)
	var printed bytes.Buffer
	config := logger.Config{LogLevel: logger.Info, ParameterizedQueries: true}
	b.app.Logger = logger.New(log.New(&printed, "", 0), config)
	c := &canaries{}
	hal := b.as(b.hal)

	first := c.vault()
	must(t, hal.Create(first).Error)
	one := func() *gorm.DB { return hal.Model(&Vault{}).Where("label = ?", "l").Limit(-1) }
	email := c.next()
	failed := errors.New("failed")
	for name, err := range map[string]error{
		"batch":    hal.Create([]*Vault{c.vault(), c.vault()}).Error,
		"map":      hal.Model(&Vault{}).Create(map[string]any{"session_token": c.next(), "phone": c.next(), "email": c.next(), "card_number": c.next()}).Error,
		"update":   one().Update("phone", c.next()).Error,
		"updates":  one().Updates(map[string]any{"email": c.next(), "password": c.next(), "cache": c.next(), "note": c.next()}).Error,
		"struct":   one().Updates(Vault{Phone: c.next(), Email: &email, Card: Card{Number: c.next()}}).Error,
		"expr":     one().UpdateColumn("phone", gorm.Expr("phone || ?", c.next())).Error,
		"save":     hal.Omit("Keys").Save(c.vault()).Error,
		"upsert":   hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(first).Error,
		"nothing":  hal.Clauses(clause.OnConflict{DoNothing: true}).Create(first).Error,
		"key":      hal.Model(&Vault{}).Where("label = ?", "l").Where("phone = ?", "x").Update("session_token", c.next()).Error,
		"or":       hal.Where("phone = ?", c.next()).Attrs(c.vault()).FirstOrCreate(&Vault{}).Error,
		"append":   hal.Model(first).Association("Keys").Append(&VaultKey{APIKey: c.next()}),
		"replace":  hal.Model(first).Association("Keys").Replace(&VaultKey{APIKey: c.next()}),
		"return":   hal.Model(&[]Vault{}).Clauses(clause.Returning{}).Where("1=1").Update("phone", c.next()).Error,
		"soft":     hal.Delete(first).Error,
		"restore":  hal.Unscoped().Model(first).Update("deleted_at", nil).Error,
		"system":   b.as(b.system).Model(&Vault{}).Where("1=1").Update("phone", c.next()).Error,
		"rollback": ignore(hal.Transaction(func(tx *gorm.DB) error { tx.Create(c.vault()); return failed }), failed),
		"event": audit.Record(b.hal, b.app, audit.Event{Action: "user.login", ResourceType: "users", Data: map[string]any{
			"password": c.next(), "deep": map[string]any{"api_key": []any{c.next()}},
		}}),
		"hard": hal.Unscoped().Where("1=1").Delete(&VaultKey{}).Error,
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var texts []string
	// The database's own message names no value here: those that do are its own.
	for name, err := range map[string]error{
		"duplicate": hal.Create(first).Error,
		"foreign":   hal.Create(&Vault{SessionToken: c.next(), TenantID: c.next()}).Error,
		"raw":       hal.Exec("UPDATE vaults SET phone = ?", c.next()).Error,
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		texts = append(texts, fmt.Sprint(err))
	}
	must(t, b.Owner.Exec("ALTER TABLE audit_logs ADD CHECK (action <> 'create') NOT VALID").Error)
	err := hal.Create(c.vault()).Error
	if !errors.Is(err, audit.ErrAudit) {
		t.Errorf("error %v, want ErrAudit", err)
	}
	texts = append(texts, fmt.Sprint(err), printed.String(), b.text(t, "SELECT l::text FROM audit_logs l"))
	for _, text := range texts {
		for _, canary := range append(c.all, "78236491", hex.EncodeToString([]byte("canary"))) {
			if at := strings.Index(text, canary); at >= 0 {
				t.Errorf("%s stands in: %s", canary, text[max(0, at-200):min(len(text), at+40)])
				break
			}
		}
	}
	if n := b.text(t, "SELECT count(*)::text FROM audit_logs"); len(c.all) < 60 || n < "40" {
		t.Errorf("%d canaries, %s entries", len(c.all), n)
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// TestHash: equal values of a tenant have one hash, those of two tenants have two,
// and without a key nothing is written.
func TestHash(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: tenancy.Rules{Models: []any{&Vault{}}}, HashKey: hashKey})
	must(t, b.Owner.AutoMigrate(&Vault{}, &VaultKey{}))
	must(t, b.Owner.Exec("GRANT ALL ON ALL TABLES IN SCHEMA public TO "+b.AppRole).Error)
	email := "ann@example.com"
	for token, ctx := range map[string]context.Context{"1": b.hal, "2": b.hal, "3": b.acme} {
		must(t, b.as(ctx).Create(&Vault{SessionToken: token, Email: &email}).Error)
	}
	must(t, b.as(b.system).Model(&Vault{}).Where("1=1").Update("email", nil).Error)
	want := func(tenant string) string {
		mac := hmac.New(sha256.New, hashKey)
		fmt.Fprint(mac, len(tenant), ":", tenant, email)
		return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
	}
	got := b.text(t, `SELECT DISTINCT tenant_id || ' ' || coalesce(metadata->'changes'->'email'->>'new', metadata->'changes'->'email'->>'old') FROM audit_logs
		WHERE resource_type = 'vaults' ORDER BY 1`)
	if got != "acme "+want("acme")+"; hal "+want("hal") {
		t.Errorf("got %s\nwant %s and %s", got, want("acme"), want("hal"))
	}

	for name, config := range map[string]audit.Config{
		"no key":      {Rules: tenancy.Rules{Models: []any{&Vault{}}}},
		"a short key": {HashKey: []byte("short")},
		"a limit":     {MaxValueChars: -1},
	} {
		if err := b.OpenApp(&gorm.Config{}).Use(audit.New(config)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	late := b.OpenApp(&gorm.Config{})
	use(t, late, audit.New(audit.Config{}))
	if err := late.WithContext(b.hal).Create(&Vault{SessionToken: "4"}).Error; !errors.Is(err, audit.ErrAudit) {
		t.Errorf("a model that is learnt later, without a key: %v, want ErrAudit", err)
	}
}

// TestCut: a long value is recorded by its start, and that it changed behind it.
func TestCut(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, MaxValueChars: 60})
	long := strings.Repeat("é", 100)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Name: long}).Error)
	must(t, b.as(b.hal).Model(&Author{ID: 1}).Update("name", long+"!").Error)
	changes, err := audit.Changes(b.trail(t)[1])
	must(t, err)
	start := strings.Repeat("é", 60)
	if got := changes["name"]; string(got.Old) != `"`+start+`...[cut from 100 characters]"` || string(got.New) != `"`+start+`...[cut from 101 characters]"` {
		t.Errorf("got %s and %s", got.Old, got.New)
	}
}
