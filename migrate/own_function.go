package migrate

import (
	"context"
	"slices"
)

// ownFunction is a function of ours as it should be.
type ownFunction struct {
	schema, name string
	args         string // the types of its arguments
	declaration  string // what stands between the name and the body
	body         string
	owner        string
	callers      []string // who else may run it
	table        string   // the one that it is about, for errors
}

// sql is the function's name as statements have it.
func (f *ownFunction) sql() string { return ident(f.schema, f.name) + `(` + f.args + `)` }

func (f *ownFunction) statement() string {
	return `CREATE OR REPLACE FUNCTION ` + ident(f.schema, f.name) + f.declaration + "\nAS " + literal(f.body)
}

// ensureOwn makes a function what it should be. One that was altered since we made
// it is drift; one that was made from another text, of an older release or other
// roles, is not. It belongs to the trail's owner, so that the policies for him are for
// it; and nobody but the callers may run it, so that nobody makes it the trigger of a
// table of his own.
func (r *protectRun) ensureOwn(ctx context.Context, f *ownFunction) (*captureFunction, error) {
	have, err := r.readFunction(ctx, f.sql())
	if err != nil {
		return nil, err
	}
	made := note{Made: hash(f.statement())}
	if have != nil {
		n, ours := readNote(have.Comment)
		if !ours {
			return nil, &ProtectError{Table: f.table, Object: f.name, Err: ErrCaptureTaken}
		}
		if made.State = n.State; n.State != hash(have.State) {
			r.done.Drifted = append(r.done.Drifted, f.schema+"."+f.name)
			made.State = ""
		} else if n.Made != made.Made {
			made.State = ""
		}
	}
	if made.State == "" {
		if have, err = r.makeFunction(ctx, f); err != nil {
			return nil, err
		}
		made.State = hash(have.State)
		if err := r.comment(ctx, `FUNCTION `+f.sql(), made); err != nil {
			return nil, err
		}
	}
	return have, r.closeFunction(ctx, f, have)
}

func (r *protectRun) makeFunction(ctx context.Context, f *ownFunction) (*captureFunction, error) {
	if err := r.exec(ctx, "%s", f.statement()); err != nil {
		return nil, err
	}
	return r.readFunction(ctx, f.sql())
}

func (r *protectRun) closeFunction(ctx context.Context, f *ownFunction, have *captureFunction) error {
	object := grantable{object: `FUNCTION ` + f.sql(), acl: functionACL, oid: have.OID}
	for _, role := range have.Allowed {
		if slices.Contains(f.callers, role) {
			continue
		}
		if err := r.setPrivileges(ctx, object, role, nil); err != nil {
			return err
		}
	}
	for _, role := range f.callers {
		if err := r.setPrivileges(ctx, object, role, []string{"EXECUTE"}); err != nil {
			return err
		}
	}
	if have.Owner != f.owner {
		return r.exec(ctx, `ALTER FUNCTION %s OWNER TO %s`, f.sql(), ident(f.owner))
	}
	return nil
}
