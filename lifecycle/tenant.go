package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/models"
)

// Create registers a tenant, and returns its row. ctx is of system scope. Errors are
// [ErrInvalid], in a [FieldError], and [ErrTaken], which is that of an id, too, that a
// deleted tenant had: the new one would read the trail of the old. A tenant whose
// deletion left no entry, for its row was deleted by other means, is not known.
// When it returns nil the row is committed.
func Create(ctx context.Context, db *gorm.DB, tenant models.NewTenant) (made models.Tenant, err error) {
	h, err := open(ctx, db)
	if err != nil {
		return made, while("creating a tenant", err)
	}
	if err := validate(tenant); err != nil {
		return made, err
	}
	err = h.system().Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&tenant).Error; err != nil {
			return taken(err)
		}
		var old int64 // asked once the row is there: a deletion of the id has ended or not begun
		if err := deletions(tx, tenant.ID).Count(&old).Error; err != nil || old > 0 {
			return cmp.Or(err, ErrTaken)
		}
		return tx.Where("id = ?", tenant.ID).First(&made).Error
	})
	return made, while("creating a tenant", err)
}

func validate(tenant models.NewTenant) error {
	for _, field := range []struct{ name, value string }{{"ID", tenant.ID}, {"Name", tenant.Name}, {"Slug", tenant.Slug}} {
		v := field.value
		if v == "" || strings.TrimSpace(v) != v || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return &FieldError{Field: field.name, Err: ErrInvalid}
		}
	}
	return nil
}

// taken recognises the error also where the handle does not translate errors.
func taken(err error) error {
	const uniqueViolation = "23505"
	var state interface{ SQLState() string }
	if errors.Is(err, gorm.ErrDuplicatedKey) || errors.As(err, &state) && state.SQLState() == uniqueViolation {
		return ErrTaken
	}
	return err
}

// Suspend makes the tenant inactive: once it returns nil, each statement of the tenant
// that starts is refused, as tenancy's Config.Suspended says. Those that run already
// may finish. A tenant that is suspended already stays so, without another entry in the
// trail. ctx is of system scope. Errors are [ErrUnknownTenant], and [ErrUnchecked],
// with which nothing was changed.
func Suspend(ctx context.Context, db *gorm.DB, id string) error {
	return while("suspending a tenant", setActive(ctx, db, id, false))
}

// Resume undoes [Suspend]. A tenant that is active stays so. ctx is of system scope.
// Errors are [ErrUnknownTenant], and [ErrDeleting] for one of which a part is deleted.
func Resume(ctx context.Context, db *gorm.DB, id string) error {
	return while("resuming a tenant", setActive(ctx, db, id, true))
}

func setActive(ctx context.Context, db *gorm.DB, id string, active bool) error {
	h, err := open(ctx, db)
	if err != nil {
		return err
	}
	if !active && !h.checks() {
		return ErrUnchecked
	}
	return h.system().Transaction(func(tx *gorm.DB) error {
		tenant, err := lock(tx, id)
		if err != nil || tenant.IsActive == active {
			return err
		}
		if active {
			if _, begun, err := unfinished(tx, id); begun || err != nil {
				return errors.Join(map[bool]error{true: ErrDeleting}[begun], err)
			}
		}
		return tx.Model(&models.Tenant{}).Where("id = ?", id).Update("is_active", active).Error
	})
}

// lock returns the tenant, which stays as it is until the transaction ends.
func lock(tx *gorm.DB, id string) (models.Tenant, error) {
	return find(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}), id)
}

func find(db *gorm.DB, id string) (tenant models.Tenant, err error) {
	err = db.Where("id = ?", id).Take(&tenant).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = ErrUnknownTenant
	}
	return tenant, err
}
