package lifecycle_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/courtroll/courtroll/lifecycle"
)

// run runs statements as the superuser.
func (b *bundle) run(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		must(t, b.super.Exec(s).Error)
	}
}

// refused demands that neither a dry run nor a deletion of acme goes further than the
// fault, nor changes a row.
func (b *bundle) refused(t *testing.T, want error, tables ...string) {
	t.Helper()
	must(t, lifecycle.Suspend(b.system, b.app, "acme"))
	acme, hal := b.sum(t, "acme"), b.sum(t, "hal")
	for _, dry := range []bool{true, false} {
		var fault *lifecycle.TablesError
		_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast, DryRun: dry})
		if !errors.Is(err, want) || !errors.As(err, &fault) || !slices.Equal(fault.Tables, tables) {
			t.Errorf("dry %v: %v, want %v of %v", dry, err, want, tables)
		}
	}
	if b.sum(t, "acme") != acme || b.sum(t, "hal") != hal {
		t.Error("rows have changed")
	}
}

// TestDelete_ForeignRow has a row of hal refer to acme's.
func TestDelete_ForeignRow(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		b.run(t, `ALTER TABLE tags ADD project_id bigint REFERENCES projects ON DELETE CASCADE`, `UPDATE tags SET project_id = 1000001 WHERE id = 2000001`)
		b.refused(t, lifecycle.ErrForeignRow, "public.tags")
	})
}

// TestDelete_ForeignRowLater has one come while rows are being deleted.
func TestDelete_ForeignRowLater(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	b.run(t, `ALTER TABLE tags ADD project_id bigint REFERENCES projects ON DELETE SET NULL`)
	must(t, lifecycle.Suspend(b.system, b.app, "acme"))
	_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast, Progress: func(p lifecycle.Progress) {
		if p.Done > 0 {
			b.run(t, `UPDATE tags SET project_id = 1000001 WHERE id = 2000001 AND EXISTS (SELECT FROM projects WHERE id = 1000001)`)
		}
	}})
	var kept int64
	must(t, b.super.Raw(`SELECT count(*) FROM tags WHERE project_id = 1000001`).Scan(&kept).Error)
	if !errors.Is(err, lifecycle.ErrForeignRow) || kept != 1 {
		t.Errorf("%v, %d references are kept", err, kept)
	}
}

// TestDelete_RegisterKey has rows of tenants refer to what is to be deleted.
func TestDelete_RegisterKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl    []string
		table  string
		err    error
		verify error
	}{
		"a tenant below":     {[]string{`ALTER TABLE tenants ADD parent_id text REFERENCES tenants ON DELETE CASCADE`, `UPDATE tenants SET parent_id = 'acme'`}, "public.tenants", lifecycle.ErrRegisterKey, nil},
		"its contact":        {[]string{`ALTER TABLE tenants ADD contact_id bigint REFERENCES people`, `UPDATE tenants SET contact_id = 1000001 WHERE id = 'acme'`}, "public.people", lifecycle.ErrRegisterKey, nil},
		"a cascade":          {[]string{`ALTER TABLE tenants ADD contact_id bigint REFERENCES people ON DELETE CASCADE`}, "public.people", lifecycle.ErrRegisterKey, lifecycle.ErrRegisterKey},
		"a row's other link": {[]string{`ALTER TABLE tags ADD shared_with text REFERENCES tenants ON DELETE CASCADE`, `UPDATE tags SET shared_with = 'acme' WHERE id = 2000001`}, "public.tags", lifecycle.ErrForeignRow, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, ours)
			b.run(t, c.ddl...)
			if err := lifecycle.Verify(t.Context(), b.app); !errors.Is(err, c.verify) {
				t.Errorf("Verify: %v", err)
			}
			b.refused(t, c.err, c.table)
		})
	}
}
