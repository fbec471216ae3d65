package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/google/uuid"
	"gorm.io/datatypes"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/identity"
	"github.com/courtroll/courtroll/internal/suspension"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// The actions of a deletion's two entries. Both have the tenant as their resource and are
// of no tenant, so that none can write or read one. Package audit lets nobody else
// record them, and migrate's Retain keeps them.
const (
	ActionDeleteBegun = models.DeleteBegunAction
	ActionDelete      = models.DeleteAction
)

// account is the metadata of such an entry.
type account struct {
	Reason       string `json:"reason"`
	SystemReason string `json:"system_reason,omitempty"`
	RequestID    string `json:"request_id,omitempty"`
	Outcome      string `json:"outcome"`
	Data         struct {
		Rows map[string]int64 `json:"rows"`
	} `json:"data"`
}

// begin records the deletion before its first change, while the tenant cannot be
// resumed; an earlier call's record is taken over.
func (r *deletion) begin() error {
	if err := r.count(); err != nil {
		return err
	}
	return r.system().Transaction(func(tx *gorm.DB) error {
		tenant, err := lock(tx, r.id)
		if err == nil && tenant.IsActive {
			err = ErrNotSuspended
		}
		if err != nil {
			return err
		}
		earlier, begun, err := unfinished(tx, r.id)
		if err != nil || !begun {
			return cmp.Or(err, r.record(tx, ActionDeleteBegun))
		}
		for name, n := range earlier {
			r.counts[name] = max(r.counts[name], n)
		}
		return nil
	})
}

// deletions are the entries of the tenant's deletion, the last first.
func deletions(tx *gorm.DB, id string) *gorm.DB {
	return tx.Model(&models.AuditLog{}).Where("tenant_id IS NULL AND resource_type = ? AND resource_id = ? AND action IN ?",
		models.TenantsTable, id, []string{ActionDeleteBegun, ActionDelete}).Order("created_at DESC, id DESC")
}

// unfinished returns what a deletion of the tenant counted that has not ended.
func unfinished(tx *gorm.DB, id string) (rows map[string]int64, begun bool, err error) {
	var last models.AuditLog
	err = deletions(tx, id).Take(&last).Error
	if errors.Is(err, gorm.ErrRecordNotFound) || err == nil && last.Action == ActionDelete {
		return nil, false, nil
	}
	if err != nil || last.Metadata == nil {
		return nil, err == nil, err
	}
	var a account
	err = json.Unmarshal(*last.Metadata, &a)
	return a.Data.Rows, true, err
}

func (r *deletion) record(tx *gorm.DB, action string) error {
	actor, request := identity.From(r.ctx)
	a := account{Reason: identity.Text(r.Reason), RequestID: request, Outcome: "success"}
	if scope, ok := tenancy.SystemFromContext(r.ctx); ok {
		a.SystemReason = identity.Text(scope.Reason())
	}
	a.Data.Rows = map[string]int64{}
	for _, c := range r.result() {
		a.Data.Rows[c.Table] = c.Rows
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	entry := models.NewAuditLog{
		ID: &id, Action: action, ResourceType: models.TenantsTable, ResourceID: &r.id,
		Metadata: (*datatypes.JSON)(&text),
	}
	if actor != "" {
		entry.ActorID = &actor
	}
	return tx.WithContext(suspension.Past(r.ctx)).Create(&entry).Error
}

// finish deletes the tenant's row, unless a row of the tenant is left.
func (r *deletion) finish() (done bool, err error) {
	err = r.system().Transaction(func(tx *gorm.DB) error {
		if _, err := lock(tx, r.id); err != nil {
			return err
		}
		if left, err := r.left(tx); left || err != nil {
			return err
		}
		if err := r.checkForeign(tx, r.crossing(r.register, false)); err != nil {
			return err
		}
		if err := r.record(tx, ActionDelete); err != nil {
			return err
		}
		done = true
		return tx.Where("id = ?", r.id).Delete(&models.Tenant{}).Error
	})
	return done && err == nil, err
}

func (r *deletion) left(tx *gorm.DB) (bool, error) {
	for _, t := range r.order {
		value, err := t.owned.Value(r.id)
		if err != nil {
			return false, err
		}
		var n int64
		err = tx.Unscoped().Model(t.model()).Where(t.list("", []string{t.owned.Column})+" = ?", value).Limit(1).Count(&n).Error
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}
