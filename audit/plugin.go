package audit

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
)

// PluginName is the name under which the plugin stands in [gorm.Config.Plugins].
const PluginName = "courtroll:audit"

// Plugin records the changes that are made through a *gorm.DB. Make one with
// [New] for each *gorm.DB. It is safe for concurrent use.
type Plugin struct {
	config   Config
	registry *plan.Registry
	base     gorm.ConnPool
	excluded map[string]bool
	mu       sync.RWMutex
	models   map[modelOf]*plan.Audited // as each model has it
	tables   map[string]*plan.Audited  // merged over the models of each table, by its name with its schema
	named    map[string]bool           // the names, without schema, of tables
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

// Initialize implements [gorm.Plugin]. It does not touch the database.
func (p *Plugin) Initialize(db *gorm.DB) error {
	if p.registry != nil {
		return errors.New("audit: the plugin is in use: make one with New for each *gorm.DB")
	}
	registry, err := plan.NewRegistry(db, p.config.Rules)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := p.exclude(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	p.registry, p.base = registry, db.ConnPool
	p.models, p.tables, p.named = map[modelOf]*plan.Audited{}, map[string]*plan.Audited{}, map[string]bool{}
	if err := p.learnModels(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := p.registerCallbacks(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func (p *Plugin) exclude(db *gorm.DB) error {
	p.excluded = map[string]bool{}
	for _, exclusion := range p.config.Exclude {
		name, err := plan.TableName(db, exclusion.Model)
		if err != nil {
			return err
		}
		if strings.TrimSpace(exclusion.Reason) == "" {
			return fmt.Errorf("excluding table %q: the reason is missing", name)
		}
		p.excluded[name] = true
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
		if _, err := p.audited(s, plan.Unqualified(s.Table)); err != nil {
			return err
		}
	}
	return nil
}

// audited returns how a model's rows enter the trail of the table of that name.
// In its own table they do with the columns of all models of the table that are
// known, by the model's own key if it has one. A table that is named with GORM's
// Table and has no model of its own is taken to be as the model says.
func (p *Plugin) audited(s *schema.Schema, name string) (*plan.Audited, error) {
	model := modelOf{s, name}
	isOwn := plan.Unqualified(s.Table) == name
	p.mu.RLock()
	own, table := p.models[model], p.tables[s.Table]
	p.mu.RUnlock()
	if own == nil {
		var err error
		if own, table, err = p.learn(model, isOwn); err != nil {
			return nil, err
		}
	}
	if !isOwn {
		return own, nil
	}
	merged := *table
	if len(own.Keys) > 0 {
		merged.Keys = own.Keys
	}
	return &merged, nil
}

func (p *Plugin) learn(model modelOf, isOwn bool) (own, table *plan.Audited, err error) {
	p.registry.Learn(model.schema)
	p.registry.LearnAs(model.table, model.schema)
	known, _ := p.registry.Lookup(model.table)
	if own, err = plan.CompileAudited(model.schema, known); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.models[model] = own
	if !isOwn {
		return own, nil, nil
	}
	p.named[model.table] = true
	name := model.schema.Table
	if table = p.tables[name]; table == nil {
		table = own
	} else {
		table = table.Merge(own)
	}
	table.Tenant = known.Column
	p.tables[name] = table
	return own, table, nil
}

// fits reports whether the statement's model is one of its table: one of the
// table's own, or any other where none is known.
func (p *Plugin) fits(s *schema.Schema, name string) bool {
	if s == nil || name == "" {
		return false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return plan.Unqualified(s.Table) == name || !p.named[name]
}
