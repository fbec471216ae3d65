package migrate

import (
	"context"
	"fmt"
	"slices"
)

// appendTrigger is one of ours as it should be.
type appendTrigger struct {
	name, clause, level, function string
	kind                          int    // as in pg_trigger.tgtype
	enabled                       string // as in pg_trigger.tgenabled
}

// The trigger of each statement stops one that meets no row, too: an owner whom
// row-level security binds would read "DELETE 0" and believe it. That of each row stops
// what reaches rows without a statement of their table's.
var appendTriggers = []appendTrigger{
	{"courtroll_append_only", `BEFORE UPDATE OR DELETE OR TRUNCATE`, `STATEMENT`, guardFunction, 58, "A"},
	{"courtroll_append_only_row", `BEFORE UPDATE OR DELETE`, `ROW`, guardFunction, 27, "A"},
	{"courtroll_clock", `BEFORE INSERT`, `ROW`, clockFunction, 7, "O"},
}

func appendTriggerNames() []string {
	names := make([]string, len(appendTriggers))
	for i, t := range appendTriggers {
		names[i] = t.name
	}
	return names
}

// functions are ours, beside audit_logs.
func (r *appendRun) functions() []*ownFunction {
	of := func(name, args, declaration, body string) *ownFunction {
		return &ownFunction{schema: r.log.Schema, name: name, args: args, declaration: declaration, body: body, owner: r.log.Owner, table: r.log.String()}
	}
	purge := of(purgeFunction, purgeArgs, purgeDeclaration, r.purgeBody())
	if r.cfg.RetentionRole != "" {
		purge.callers = []string{r.cfg.RetentionRole}
	}
	const trigger = "() RETURNS trigger\nLANGUAGE plpgsql VOLATILE"
	return []*ownFunction{of(guardFunction, "", trigger, r.guardBody()), of(clockFunction, "", trigger, r.clockBody()), purge}
}

// ensureObjects makes functions and triggers what they should be. Where there is one
// of our functions, a trigger that is not there was dropped by hand.
func (r *appendRun) ensureObjects(ctx context.Context) error {
	oids, installed := map[string]int64{}, false
	for _, f := range r.functions() {
		before, err := r.readFunction(ctx, f.sql())
		if err != nil {
			return err
		}
		have, err := r.ensureOwn(ctx, f)
		if err != nil {
			return err
		}
		oids[f.name] = have.OID
		installed = installed || before != nil
	}
	found, err := r.readAppendTriggers(ctx)
	if err != nil {
		return err
	}
	for _, t := range appendTriggers {
		if err := r.ensureAppendTrigger(ctx, t, oids[t.function], found[t.name], installed); err != nil {
			return err
		}
	}
	return nil
}

func (r *appendRun) readAppendTriggers(ctx context.Context) (map[string]*foundTrigger, error) {
	list, err := readRows[*foundTrigger](ctx, r.tx, `
		SELECT t.tgname AS name, t.tgfoid::bigint AS function, coalesce(obj_description(t.tgfoid, 'pg_proc'), '') AS comment, t.tgtype AS kind,
			t.tgenabled::text AS enabled, t.tgqual IS NOT NULL OR array_length(t.tgattr::int2[], 1) > 0 OR t.tgconstraint <> 0 AS narrowed
		FROM pg_trigger t WHERE t.tgrelid = $1::bigint::oid AND NOT t.tgisinternal AND t.tgname = ANY ($2::text[])`, r.log.OID, appendTriggerNames())
	found := map[string]*foundTrigger{}
	for _, t := range list {
		found[t.Name] = t
	}
	return found, err
}

// foundTrigger is one that the catalogue has under a name of ours.
type foundTrigger struct {
	Name     string `json:"name"`
	Function int64  `json:"function"`
	Comment  string `json:"comment"` // the function's
	Kind     int    `json:"kind"`
	Enabled  string `json:"enabled"`
	Narrowed bool   `json:"narrowed"`
}

func (r *appendRun) ensureAppendTrigger(ctx context.Context, want appendTrigger, function int64, have *foundTrigger, installed bool) error {
	if have != nil {
		if _, ours := readNote(have.Comment); !ours {
			return &ProtectError{Table: r.log.String(), Object: want.name, Err: ErrCaptureTaken}
		}
		if have.is(want, function) {
			return nil
		}
	}
	if installed {
		r.done.Drifted = append(r.done.Drifted, r.log.String()+"."+want.name)
	}
	for _, statement := range want.sql(r.log) {
		if err := r.exec(ctx, "%s", statement); err != nil {
			return err
		}
	}
	return nil
}

// sql are the statements that make it. Replacing it leaves no moment without it, and
// readers alone.
func (t appendTrigger) sql(log *guarded) []string {
	list := []string{fmt.Sprintf(`CREATE OR REPLACE TRIGGER %s %s ON %s FOR EACH %s EXECUTE FUNCTION %s()`,
		ident(t.name), t.clause, log.sql(), t.level, ident(log.Schema, t.function))}
	if t.enabled == "A" {
		list = append(list, fmt.Sprintf(`ALTER TABLE %s ENABLE ALWAYS TRIGGER %s`, log.sql(), ident(t.name)))
	}
	return list
}

func (f *foundTrigger) is(want appendTrigger, function int64) bool {
	return f.Function == function && f.Kind == want.kind && f.Enabled == want.enabled && !f.Narrowed
}

// ensureRetention makes the policies for the purge where Protect has bound the owner.
func (r *appendRun) ensureRetention(ctx context.Context) error {
	found, _, err := r.readPolicies(ctx, r.log)
	if err != nil {
		return err
	}
	if _, ours := readNote(found[definerInsert(r.log).name].Comment); !ours {
		return nil
	}
	before, _ := r.before(r.log, found)
	for _, p := range retentionPolicies(r.log) {
		if err := r.ensurePolicy(ctx, r.log, p, found, before); err != nil {
			return err
		}
	}
	return nil
}

func (r *appendRun) drop(ctx context.Context) error {
	triggers, err := r.readAppendTriggers(ctx)
	if err != nil {
		return err
	}
	for _, name := range appendTriggerNames() {
		if triggers[name] == nil {
			continue
		}
		if _, ours := readNote(triggers[name].Comment); !ours {
			continue
		}
		if err := r.exec(ctx, `DROP TRIGGER %s ON %s`, ident(name), r.log.sql()); err != nil {
			return err
		}
	}
	if err := r.dropRetention(ctx); err != nil {
		return err
	}
	for _, f := range r.functions() {
		if err := r.dropOwn(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (r *appendRun) dropRetention(ctx context.Context) error {
	found, names, err := r.readPolicies(ctx, r.log)
	if err != nil {
		return err
	}
	for _, p := range retentionPolicies(r.log) {
		if _, ours := readNote(found[p.name].Comment); !ours || !slices.Contains(names, p.name) {
			continue
		}
		if err := r.dropPolicy(ctx, r.log, p.name); err != nil {
			return err
		}
	}
	return nil
}

// dropOwn drops one that is ours and that no trigger calls.
func (r *appendRun) dropOwn(ctx context.Context, f *ownFunction) error {
	have, err := r.readFunction(ctx, f.sql())
	if err != nil || have == nil {
		return err
	}
	if _, ours := readNote(have.Comment); !ours {
		return nil
	}
	return r.dropFunction(ctx, f.sql())
}
