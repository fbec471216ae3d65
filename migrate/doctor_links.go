package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// checkHalfLink reports a key between a protected table and one with the tenant column
// that nobody protects. If the app reaches that one, its being there is the finding.
func (d *doctor) checkHalfLink(ctx context.Context, l *link) error {
	other := l.To
	if l.from == nil {
		other = l.From
	}
	if !l.HasTenant || slices.Contains(l.Cols, d.column) || slices.Contains(oidsOf(d.shared), other) {
		return nil
	}
	open, err := d.openTo(ctx, other)
	if err != nil || len(open) > 0 {
		return err
	}
	g, err := d.lookupOID(ctx, `$1::text::oid`, fmt.Sprint(other), d.column)
	if err != nil || g == nil {
		return err
	}
	fixed := l.mended()
	fixed.from, fixed.to = cmp.Or(l.from, g), cmp.Or(l.to, g)
	fix := "-- give " + g.String() + " a model with the tenant column, and Protect both tables together"
	if fixed.ordinary() && fixed.from.Type == fixed.to.Type && fixed.check() == nil {
		fix, err = d.drafted(func(r *protectRun) error {
			if err := r.dropLink(ctx, fixed); err != nil {
				return err
			}
			if err := r.ensureKey(ctx, fixed.to, fixed.RefCols); err != nil {
				return err
			}
			return r.unforced(ctx, []*guarded{fixed.from, fixed.to}, func() error { return r.addLink(ctx, fixed, fixed.sql()) })
		})
	}
	d.report(Finding{CodeForeignKeyUnprotected, SeverityWarning, l.subject(),
		fmt.Sprintf("it refers to %s without the tenant column, and nobody protects %s: a row may refer to another tenant's. The fix fails where one does", l.ToName, g), fix})
	return err
}

// disabled is a trigger of the server's own that does not fire.
type disabled struct {
	Table      int64  `json:"table"`
	Trigger    string `json:"trigger"`
	OID        int64  `json:"oid"` // of the constraint
	Constraint string `json:"constraint"`
}

// checkTriggers reports tables on which the triggers that check keys do not fire. They
// are a superuser's to enable; a foreign key of ours is made anew instead, which its owner
// may do, and which checks what was written meanwhile.
func (d *doctor) checkTriggers(ctx context.Context, have []*link) error {
	list, err := readRows[disabled](ctx, d.tx, `
		SELECT t.tgrelid::bigint AS table, t.tgname AS trigger, o.oid::bigint AS oid, o.conname AS constraint
		FROM pg_trigger t JOIN pg_constraint o ON o.oid = t.tgconstraint
		WHERE t.tgisinternal AND t.tgenabled IN ('D', 'R') AND t.tgrelid = ANY ($1::bigint[]::oid[]) ORDER BY o.conname, t.tgname`, d.set.oids())
	if err != nil {
		return err
	}
	for _, g := range d.set.list {
		var mine []disabled
		for _, t := range list {
			if t.Table == g.OID {
				mine = append(mine, t)
			}
		}
		if len(mine) > 0 {
			if err := d.reportTriggers(ctx, g, mine, have); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *doctor) reportTriggers(ctx context.Context, g *guarded, off []disabled, have []*link) error {
	var names []string
	fix, err := d.drafted(func(r *protectRun) error {
		for _, t := range off {
			seen := slices.Contains(names, t.Constraint)
			if !seen {
				names = append(names, t.Constraint)
			}
			var err error
			if at := slices.IndexFunc(have, func(l *link) bool { return l.OID == t.OID && l.isOurs() }); at < 0 {
				err = r.exec(ctx, `ALTER TABLE %s ENABLE TRIGGER %s`, g.sql(), ident(t.Trigger))
			} else if l := have[at].mended(); !seen {
				if err = r.dropLink(ctx, l); err == nil {
					err = r.draftLinks(ctx, l.after(l), l)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	d.report(Finding{CodeConstraintTriggersOff, SeverityError, "table " + g.String(),
		"the server's triggers that check keys are disabled, so these check nothing: " + strings.Join(names, ", ") + ". The fix fails where a row refers to another tenant's", fix})
	return err
}
