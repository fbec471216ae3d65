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
	models   sync.Map // *schema.Schema → *plan.Audited
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
	if err := p.compileModels(db); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	p.registry, p.base = registry, db.ConnPool
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

// compileModels finds faults in the tags of the models that are known from the start.
func (p *Plugin) compileModels(db *gorm.DB) error {
	for _, model := range p.config.Models {
		s, err := plan.Parse(db, model)
		if err != nil {
			return err
		}
		if _, err := plan.CompileAudited(s, plan.Table{}); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plugin) audited(s *schema.Schema) (*plan.Audited, error) {
	if a, ok := p.models.Load(s); ok {
		return a.(*plan.Audited), nil
	}
	p.registry.Learn(s)
	table, _ := p.registry.Lookup(plan.Unqualified(s.Table))
	a, err := plan.CompileAudited(s, table)
	if err == nil {
		p.models.Store(s, a)
	}
	return a, err
}
