package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// Covered is one table, and what makes its changes leave entries.
type Covered struct {
	// Table is the table's name, with its schema where the name alone means
	// another table, or none, in the search path.
	Table string

	// Plugin is true where a model of the table is known and the table is not
	// excluded: what changes through GORM leaves an entry, or is refused.
	Plugin bool

	// Trigger is true where the four triggers of migrate's CaptureByTrigger are
	// there and fire for this login: whatever changes the table leaves an entry.
	// Where Plugin is true as well, each change leaves one entry, not two.
	Trigger bool

	// Excluded is the reason of [Config.Exclude], empty if the table is not excluded.
	Excluded string

	// Fault is a [CoverageError] that says what is missing, nil if nothing is:
	// where the table is neither captured nor excluded, and where it is captured
	// in another way than was asked for.
	Fault error
}

// String returns the table and what holds of it, in one line.
func (c Covered) String() string {
	var parts []string
	if c.Plugin {
		parts = append(parts, "captured by the plugin")
	}
	if c.Trigger {
		parts = append(parts, "captured by trigger")
	}
	if c.Excluded != "" {
		parts = append(parts, "excluded: "+c.Excluded)
	}
	var fault *CoverageError
	if errors.As(c.Fault, &fault) {
		parts = append(parts, "not covered: "+fault.what())
	}
	return c.Table + ": " + strings.Join(parts, "; ")
}

// Coverage says table by table what makes changes leave entries, in the order
// of the tables' names, each table once. It takes the models that are not in
// Config.Models, and learns them, as [Verify] does. There is a line for
//
//   - each table of these models, of those that the plugin has met so far, and of
//     what they refer to, the join tables of many2many included;
//   - each table of Config.Exclude;
//   - each other table, or view that can be written through, of any schema, that
//     this login may write by itself, or that is captured by trigger. Tables named
//     audit_logs or courtroll_migrations are left out, and those of extensions.
//     Not seen is what the login may write only as another role (SET ROLE), or by
//     functions that run with their owner's rights (SECURITY DEFINER).
//
// A partition is part of its table, where there is a line for this. A table is not covered ([Covered.Fault]) with
//
//   - [ErrNoModel] if no model of it is known, and the login may write it;
//   - [ErrNoTable] if the database has no table of a model that was given here or
//     in Config.Models;
//   - [ErrTriggers] if some of the four triggers are there, but not all, or not
//     all as they should be: one that is disabled captures nothing;
//   - [ErrUnaudited] if its model is of a view, and has no primary key, by which
//     rows of a view are found: updates are refused;
//   - [ErrAudit] if a tag of its model is at fault: every change fails.
//
// Coverage reads the catalogue alone, in db's transaction if it is in one, and
// needs no tenant and no rights. Where the plugin is not on db, the error is
// [ErrNotInstalled]; where its callbacks were displaced, [ErrDisplaced].
func Coverage(ctx context.Context, db *gorm.DB, models ...any) ([]Covered, error) {
	s, err := newSurvey(ctx, db, models)
	if err != nil {
		return nil, err
	}
	return s.lines, nil
}

// installed returns the plugin on db, if its callbacks run.
func installed(db *gorm.DB) (*Plugin, error) {
	p, ok := db.Plugins[PluginName].(*Plugin)
	if !ok {
		return nil, ErrNotInstalled
	}
	// Each callback looks for all the others before it looks at anything else.
	dry := db.Session(&gorm.Session{NewDB: true, DryRun: true, Context: nobody{db.Statement.Context}, SkipHooks: true})
	for _, err := range []error{dry.Exec("SELECT 1").Error, dry.Raw("SELECT 1").Find(new(int)).Error} {
		if errors.Is(err, ErrDisplaced) {
			return nil, err
		}
	}
	return p, nil
}

// survey is what the models and the catalogue say together.
type survey struct {
	plugin *Plugin
	ctx    nobody
	pool   gorm.ConnPool
	models map[string]*known // by the tables' names, as the models have them
	lines  []Covered

	// audited holds the tables that the plugin captures, the trigger too or not.
	audited []relation
}

// known is a table of which a model is known.
type known struct {
	schemas []*schema.Schema
	given   bool // here or in Config.Models
	listed  bool
}

func newSurvey(ctx context.Context, db *gorm.DB, models []any) (*survey, error) {
	p, err := installed(db)
	if err != nil {
		return nil, err
	}
	s := &survey{plugin: p, ctx: nobody{ctx}, pool: db.Statement.ConnPool}
	if s.models, err = p.knownModels(db, models); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	relations, err := s.relations()
	if err != nil {
		return nil, fmt.Errorf("audit: reading the catalogue: %w", err)
	}
	lined := map[uint32]bool{}
	for _, r := range relations {
		if r.Root == 0 {
			lined[r.OID] = s.add(r)
		}
	}
	for _, r := range relations {
		if r.Root != 0 && !lined[r.Root] { // the login may write the part alone
			s.add(r)
		}
	}
	s.addMissing()
	slices.SortFunc(s.lines, func(a, b Covered) int { return cmp.Compare(a.Table, b.Table) })
	return s, nil
}

// knownModels returns the tables of all models that are known: those given, what
// they refer to, and what the plugin has met.
func (p *Plugin) knownModels(db *gorm.DB, given []any) (map[string]*known, error) {
	found := map[string]*known{}
	var add func(s *schema.Schema) *known
	add = func(s *schema.Schema) *known {
		k := found[s.Table]
		if k == nil {
			k = &known{}
			found[s.Table] = k
		}
		if slices.Contains(k.schemas, s) {
			return k
		}
		k.schemas = append(k.schemas, s)
		for _, rel := range plan.Relations(s) {
			add(rel.FieldSchema)
			if rel.JoinTable != nil {
				add(rel.JoinTable)
			}
		}
		return k
	}
	for _, model := range append(slices.Clone(p.config.Models), given...) {
		s, err := plan.Parse(db, model)
		if err != nil {
			return nil, err
		}
		add(s).given = true
	}
	own, err := plan.Parse(db, &models.Tenant{}) // which the app need not list
	if err != nil {
		return nil, err
	}
	add(own)
	p.mu.RLock()
	defer p.mu.RUnlock()
	for table := range p.tables {
		if found[table] == nil {
			found[table] = &known{}
		}
	}
	return found, nil
}

// add makes the line of a table that exists, and reports whether there is one.
func (s *survey) add(r relation) bool {
	if r.Name == models.AuditLogsTable {
		return true
	}
	model := s.modelOf(r)
	line := Covered{Table: r.display(), Excluded: s.plugin.reason(r.Name, r.isIn), Trigger: r.captured()}
	line.Plugin = model != nil && line.Excluded == ""
	if line.Plugin {
		s.audited = append(s.audited, r)
		line.Fault = s.fault(r, model)
	}
	switch {
	case line.Fault != nil:
	case r.Found > 0 && !line.Trigger:
		line.Fault = &CoverageError{Table: line.Table, Kind: ErrTriggers}
	case !line.Plugin && !line.Trigger && line.Excluded == "":
		line.Fault = &CoverageError{Table: line.Table, Kind: ErrNoModel}
	}
	listed := model != nil || line.Excluded != "" || line.Trigger || r.Found > 0 || r.Writable && r.Own
	if listed {
		s.lines = append(s.lines, line)
	}
	return listed
}

// modelOf returns what is known of the table's models, nil if nothing is.
func (s *survey) modelOf(r relation) (found *known) {
	for _, name := range r.names() {
		if k := s.models[name]; k != nil {
			k.listed = true
			if found != nil {
				k = &known{schemas: slices.Concat(found.schemas, k.schemas), given: found.given || k.given}
			}
			found = k
		}
	}
	return found
}

// fault returns what is wrong with a table's models, which are learnt.
func (s *survey) fault(r relation, model *known) error {
	keyless := len(model.schemas) > 0
	for _, m := range model.schemas {
		source, err := s.plugin.audited(m, plan.Unqualified(m.Table))
		if err == nil {
			err = s.plugin.checkKey(source)
		}
		if err != nil {
			return &CoverageError{Table: r.display(), Kind: ErrAudit, Cause: err}
		}
		keyless = keyless && len(m.PrimaryFields) == 0
	}
	if keyless && r.Kind == "v" && r.Updatable {
		return &CoverageError{Table: r.display(), Kind: ErrUnaudited, Cause: errNoKey}
	}
	return nil
}

var errNoKey = errors.New("its model has no primary key, by which the rows of a view are found")

// addMissing makes the lines of tables that do not exist. A model that something
// else refers to need not have one, nor one that was met and is gone.
func (s *survey) addMissing() {
	for table, k := range s.models {
		schema, name := plan.Split(table)
		if k.listed || name == models.AuditLogsTable {
			continue
		}
		if reason := s.plugin.reason(name, isMeant(schema)); reason != "" {
			s.lines = append(s.lines, Covered{Table: table, Excluded: reason})
		} else if k.given {
			s.lines = append(s.lines, Covered{Table: table, Fault: &CoverageError{Table: table, Kind: ErrNoTable}})
		}
	}
	for name, schemas := range s.plugin.excluded {
		named := func(c Covered) bool { return plan.Unqualified(c.Table) == name && c.Excluded != "" }
		if !slices.ContainsFunc(s.lines, named) && name != models.AuditLogsTable {
			reason := s.plugin.reason(name, func(string) bool { return true })
			s.lines = append(s.lines, Covered{Table: strings.TrimPrefix(schemas[0]+"."+name, "."), Excluded: reason})
		}
	}
}

// reason returns why a table is excluded, empty if it is not. Its schema is as it
// stands in an exclusion, empty where none does.
func (p *Plugin) reason(table string, isIn func(schema string) bool) string {
	for _, exclusion := range p.config.Exclude {
		name, err := plan.QualifiedName(p.handle, exclusion.Model)
		if schema, own := plan.Split(name); err == nil && own == table && isIn(schema) {
			return exclusion.Reason
		}
	}
	return ""
}

// isMeant returns whether a schema in an exclusion is that of a statement. A name
// without one is that of the search path, or of public.
func isMeant(schema string) func(given string) bool {
	return func(given string) bool {
		return given == schema || given == "" && schema == "public" || given == "public" && schema == ""
	}
}
