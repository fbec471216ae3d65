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
	models   map[*schema.Schema]*plan.Audited // as each model has it
	tables   map[string]*plan.Audited         // merged over the models of each table
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
	p.models, p.tables = map[*schema.Schema]*plan.Audited{}, map[string]*plan.Audited{}
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
		if _, err := p.audited(s); err != nil {
			return err
		}
	}
	return nil
}

// audited returns how a model's rows enter the trail: with the columns of all
// models of its table that are known, by the model's own key.
func (p *Plugin) audited(s *schema.Schema) (*plan.Audited, error) {
	p.mu.RLock()
	own, table := p.models[s], p.tables[s.Table]
	p.mu.RUnlock()
	if own == nil {
		var err error
		if own, table, err = p.learn(s); err != nil {
			return nil, err
		}
	}
	merged := *table
	merged.Keys = own.Keys
	return &merged, nil
}

func (p *Plugin) learn(s *schema.Schema) (own, table *plan.Audited, err error) {
	p.registry.Learn(s)
	known, _ := p.registry.Lookup(plan.Unqualified(s.Table))
	if own, err = plan.CompileAudited(s, known); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if table = p.tables[s.Table]; table == nil {
		table = own
	} else {
		table = table.Merge(own)
	}
	table.Tenant = known.Column
	p.models[s], p.tables[s.Table] = own, table
	return own, table, nil
}
