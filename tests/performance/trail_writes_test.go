package performance

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// documents begins a statement on the tenant's rows.
func (f *trailForm) documents(db *gorm.DB) *gorm.DB {
	if f.plugins {
		return db
	}
	return db.Where("tenant_id = ?", "t1")
}

func (f *trailForm) create(list []Document) error {
	write := func(db *gorm.DB) error {
		if len(list) == 1 {
			return db.Create(&list[0]).Error
		}
		return db.Create(&list).Error
	}
	if !f.manual {
		return write(f.db)
	}
	return f.db.Transaction(func(tx *gorm.DB) error {
		if err := write(tx); err != nil {
			return err
		}
		ids := make([]int64, len(list))
		for i, d := range list {
			ids[i] = d.ID
		}
		after, err := f.read(tx, "id IN ?", ids)
		if err != nil {
			return err
		}
		for i := range after {
			if err := record(tx, "create", nil, &after[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *trailForm) update(values map[string]any, condition string, arg any) error {
	write := func(db *gorm.DB, condition string, arg any) error {
		return f.documents(db).Model(&Document{}).Where(condition, arg).Updates(values).Error
	}
	if !f.manual {
		return write(f.db, condition, arg)
	}
	return f.db.Transaction(func(tx *gorm.DB) error {
		before, err := f.read(tx.Clauses(clause.Locking{Strength: "UPDATE"}), condition, arg)
		if err != nil {
			return err
		}
		ids := make([]int64, len(before))
		for i, d := range before {
			ids[i] = d.ID
		}
		if err := write(tx, condition, arg); err != nil {
			return err
		}
		after, err := f.read(tx, "id IN ?", ids)
		if err != nil {
			return err
		}
		if len(after) != len(before) {
			return fmt.Errorf("%d rows before and %d after", len(before), len(after))
		}
		for i := range before {
			if err := record(tx, "update", &before[i], &after[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *trailForm) remove(condition string, arg any) error {
	write := func(db *gorm.DB) error {
		return f.documents(db).Where(condition, arg).Delete(&Document{}).Error
	}
	if !f.manual {
		return write(f.db)
	}
	return f.db.Transaction(func(tx *gorm.DB) error {
		before, err := f.read(tx.Clauses(clause.Locking{Strength: "UPDATE"}), condition, arg)
		if err != nil {
			return err
		}
		if err := write(tx); err != nil {
			return err
		}
		for i := range before {
			if err := record(tx, "delete", &before[i], nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *trailForm) read(db *gorm.DB, condition string, arg any) (list []Document, err error) {
	return list, f.documents(db).Where(condition, arg).Order("id").Find(&list).Error
}

// record creates one entry, as somebody would who writes it by hand.
func record(tx *gorm.DB, action string, before, after *Document) error {
	from, to := columns(before), columns(after)
	changes := map[string]any{}
	for _, name := range documentColumns {
		if o, n := from[name], to[name]; fmt.Sprint(o) != fmt.Sprint(n) {
			changes[name] = map[string]any{"old": o, "new": n}
		}
	}
	metadata, err := json.Marshal(map[string]any{"actor_kind": "user", "request_id": "request_1", "changes": changes})
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	key := to["id"]
	if after == nil {
		key = from["id"]
	}
	return tx.Table("audit_logs").Create(map[string]any{
		"id": id, "actor_id": "user_1", "tenant_id": "t1", "action": action, "resource_type": "documents",
		"resource_id": fmt.Sprint(key), "ip_address": "192.0.2.7",
		"metadata": gorm.Expr("?::jsonb || jsonb_build_object('transaction_id', pg_current_xact_id()::text)", string(metadata)),
	}).Error
}

var documentColumns = []string{
	"id", "tenant_id", "title", "body", "status", "views", "price", "active", "data", "created_at", "updated_at",
}

func columns(d *Document) map[string]any {
	if d == nil {
		return nil
	}
	return map[string]any{
		"id": d.ID, "tenant_id": d.TenantID, "title": d.Title, "body": d.Body, "status": d.Status, "views": d.Views,
		"price": d.Price, "active": d.Active, "data": json.RawMessage(d.Data),
		"created_at": d.CreatedAt.UTC().Format(time.RFC3339Nano), "updated_at": d.UpdatedAt.UTC().Format(time.RFC3339Nano),
	}
}

// statementTriggers leave the trail of each statement at its end.
const statementTriggers = `
CREATE FUNCTION leave_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
		SELECT courtroll_uuidv7(), current_setting('app.actor_id'), n.tenant_id, 'create', TG_TABLE_NAME, n.id::text, current_setting('app.ip'),
			current_setting('app.metadata')::jsonb || jsonb_build_object('changes', d.changes, 'transaction_id', pg_current_xact_id()::text), clock_timestamp()
		FROM new_rows AS n CROSS JOIN LATERAL (SELECT jsonb_object_agg(key, jsonb_build_object('old', NULL, 'new', value)) AS changes
			FROM jsonb_each(to_jsonb(n)) WHERE value <> 'null') AS d;
	ELSIF TG_OP = 'DELETE' THEN
		INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
		SELECT courtroll_uuidv7(), current_setting('app.actor_id'), o.tenant_id, 'delete', TG_TABLE_NAME, o.id::text, current_setting('app.ip'),
			current_setting('app.metadata')::jsonb || jsonb_build_object('changes', d.changes, 'transaction_id', pg_current_xact_id()::text), clock_timestamp()
		FROM old_rows AS o CROSS JOIN LATERAL (SELECT jsonb_object_agg(key, jsonb_build_object('old', value, 'new', NULL)) AS changes
			FROM jsonb_each(to_jsonb(o)) WHERE value <> 'null') AS d;
	ELSE
		INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
		SELECT courtroll_uuidv7(), current_setting('app.actor_id'), n.tenant_id, 'update', TG_TABLE_NAME, o.id::text, current_setting('app.ip'),
			current_setting('app.metadata')::jsonb || jsonb_build_object('changes', d.changes, 'transaction_id', pg_current_xact_id()::text), clock_timestamp()
		FROM old_rows AS o JOIN new_rows AS n USING (id)
			CROSS JOIN LATERAL (SELECT to_jsonb(o) AS o, to_jsonb(n) AS n OFFSET 0) AS j
			CROSS JOIN LATERAL (SELECT jsonb_object_agg(key, jsonb_build_object('old', j.o -> key, 'new', value)) AS changes
				FROM jsonb_each(j.n) WHERE value IS DISTINCT FROM j.o -> key) AS d
		WHERE d.changes IS NOT NULL;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER created AFTER INSERT ON documents REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION leave_trail();
CREATE TRIGGER updated AFTER UPDATE ON documents REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION leave_trail();
CREATE TRIGGER deleted AFTER DELETE ON documents REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION leave_trail();`

// rowTrigger leaves an entry for each row as it changes.
const rowTrigger = `
CREATE FUNCTION leave_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	o jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
	n jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
	changes jsonb;
BEGIN
	SELECT jsonb_object_agg(key, jsonb_build_object('old', nullif(o -> key, 'null'), 'new', nullif(n -> key, 'null'))) INTO changes
	FROM jsonb_each(coalesce(n, o)) WHERE coalesce(o -> key, 'null') <> coalesce(n -> key, 'null');
	IF changes IS NOT NULL THEN
		INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
		VALUES (courtroll_uuidv7(), current_setting('app.actor_id'), coalesce(n, o) ->> 'tenant_id',
			CASE TG_OP WHEN 'INSERT' THEN 'create' WHEN 'UPDATE' THEN 'update' ELSE 'delete' END, TG_TABLE_NAME, coalesce(o, n) ->> 'id',
			current_setting('app.ip'), current_setting('app.metadata')::jsonb
				|| jsonb_build_object('changes', changes, 'transaction_id', pg_current_xact_id()::text), clock_timestamp());
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON documents FOR EACH ROW EXECUTE FUNCTION leave_entry();`
