package audit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// PluginName is the name under which the plugin stands in [gorm.Config.Plugins].
const PluginName = "courtroll:audit"

// Plugin records the changes that are made through a *gorm.DB. Make one with
// [New] for each *gorm.DB. It is safe for concurrent use.
type Plugin struct {
	config   Config
	registry *plan.Registry
	handle   *gorm.DB
	excluded map[string][]string // the schemas that were given with a name, "" where none was
	events   eventTypes
	texts    sqllex.Cache
	lost     atomic.Uint64 // see Lost
	mu       sync.RWMutex
	models   map[modelOf]*plan.Audited // as each model has it
	tables   map[string]*plan.Audited  // merged over the models of each table, by its name with its schema
	named    map[string]*plan.Audited  // merged over the tables of a name: one may be reached by another's
	compiled map[target]*compiled
}

// modelOf is a model in its use for a table: its own, or one named with GORM's Table.
type modelOf struct {
	schema *schema.Schema
	table  string
}

// New returns the plugin, for [gorm.DB.Use]. It checks nothing: every error of
// the configuration comes from Initialize, and so from Use.
func New(config Config) *Plugin { return &Plugin{config: config} }

// Name implements [gorm.Plugin].
func (p *Plugin) Name() string { return PluginName }

// Rules returns those of the Config, for migrate.Doctor to go by.
func (p *Plugin) Rules() Rules { return p.config.Rules }

// Excludes reports whether Config.Exclude names a table, for migrate.Doctor to go by.
// An exclusion without a schema is that of every table of the name.
func (p *Plugin) Excludes(schema, table string) bool {
	return p.reason(table, func(given string) bool { return given == "" || given == schema }) != ""
}

// Initialize implements [gorm.Plugin]. It does not touch the database.
func (p *Plugin) Initialize(db *gorm.DB) error {
	if p.registry != nil {
		return errors.New("audit: the plugin is in use: make one with New for each *gorm.DB")
	}
	registry, err := plan.NewRegistry(db, p.config.Rules)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for name, key := range map[string][]byte{"HashKey": p.config.HashKey, "CursorKey": p.config.CursorKey} {
		if key != nil && len(key) < minKey {
			return fmt.Errorf("audit: Config.%s has %d bytes, and needs at least %d, or to be nil", name, len(key), minKey)
		}
	}
	if p.config.MaxValueChars < 0 {
		return errors.New("audit: Config.MaxValueChars is negative")
	}
	if p.events, err = p.config.Events.compile(); err != nil {
		return fmt.Errorf("audit: Config.Events: %w", err)
	}
	if err := p.exclude(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	p.registry, p.handle = registry, db
	p.models, p.tables, p.named = map[modelOf]*plan.Audited{}, map[string]*plan.Audited{}, map[string]*plan.Audited{}
	p.forgetTables()
	if err := p.learnModels(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := p.registerCallbacks(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func (p *Plugin) exclude(db *gorm.DB) error {
	p.excluded = map[string][]string{}
	for _, exclusion := range p.config.Exclude {
		table, err := plan.QualifiedName(db, exclusion.Model)
		if err != nil {
			return err
		}
		if strings.TrimSpace(exclusion.Reason) == "" {
			return fmt.Errorf("excluding table %q: the reason is missing", table)
		}
		schema, name := plan.Split(table)
		p.excluded[name] = append(p.excluded[name], schema)
	}
	for _, f := range p.config.TrustedFunctions {
		if strings.TrimSpace(f.Name) == "" || strings.TrimSpace(f.Reason) == "" {
			return fmt.Errorf("trusting function %q: the name or the reason is missing", f.Name)
		}
	}
	return nil
}

// learnModels reads the models that are known from the start, and finds faults in their tags.
func (p *Plugin) learnModels(db *gorm.DB) error {
	for _, model := range p.config.Models {
		s, err := plan.Parse(db, model)
		if err != nil {
			return err
		}
		source, err := p.audited(s, plan.Unqualified(s.Table))
		if err != nil {
			return err
		}
		if err := p.checkKey(source); err != nil {
			return fmt.Errorf("model %s: %w", s.Name, err)
		}
	}
	return nil
}

// source is how rows of a table enter the trail: as all models of the table that
// are known say, by the key of the statement's model if it has one.
type source struct {
	own   *plan.Audited // the statement's model's, nil if it has none
	table *plan.Audited
}

// plan returns what both say together.
func (s source) plan() *plan.Audited {
	merged := *s.table
	if s.own != nil && len(s.own.Keys) > 0 {
		merged.Keys = s.own.Keys
	}
	return &merged
}

// audited returns the source for a statement. A table that is reached by its name
// is recorded as its own models say, or, where none is known, as the statement's
// model does. The zero source is that of a table of which nothing is known.
func (p *Plugin) audited(s *schema.Schema, name string) (source, error) {
	p.mu.RLock()
	own, table := p.models[modelOf{s, name}], p.named[name]
	p.mu.RUnlock()
	if s == nil || plan.Unqualified(s.Table) != name && table != nil {
		return source{table: table}, nil
	}
	if own == nil {
		var err error
		if own, table, err = p.learn(s, name); err != nil {
			return source{}, err
		}
	}
	if plan.Unqualified(s.Table) != name {
		return source{table: own}, nil
	}
	return source{own: own, table: table}, nil
}

func (p *Plugin) learn(s *schema.Schema, name string) (own, table *plan.Audited, err error) {
	p.registry.Learn(s)
	p.registry.LearnAs(name, s)
	known, _ := p.registry.Lookup(name)
	if own, err = plan.CompileAudited(s, known); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.models[modelOf{s, name}] = own
	if plan.Unqualified(s.Table) != name {
		return own, nil, nil
	}
	p.tables[s.Table] = merge(p.tables[s.Table], own, known.Column)
	p.named[name] = merge(p.named[name], own, known.Column)
	return own, p.named[name], nil
}

func merge(table, own *plan.Audited, tenant string) *plan.Audited {
	if table == nil {
		table = own
	}
	merged := table.Merge(own)
	merged.Tenant = tenant
	return merged
}
