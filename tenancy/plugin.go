package tenancy

import (
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// PluginName is the name under which the plugin stands in [gorm.Config.Plugins].
const PluginName = "courtroll:tenancy"

// Plugin confines the statements of a *gorm.DB to the tenant of their context.
// Make one with [New] for each *gorm.DB. It is safe for concurrent use.
type Plugin struct {
	config   Config
	registry *plan.Registry
	texts    sqllex.Cache
	router   *router  // nil where all statements go to one pool that binds them
	proven   sync.Map // names of tables that row-level security confines
	fresh    freshSchemas
	asks     string // SQL: whether a tenant is suspended; empty if the driver asks, or nobody does
}

// New returns the plugin, for [gorm.DB.Use]. It checks nothing: every error of
// the configuration comes from Initialize, and so from Use.
func New(config Config) *Plugin { return &Plugin{config: config} }

// Name implements [gorm.Plugin].
func (p *Plugin) Name() string { return PluginName }

// Initialize implements [gorm.Plugin]. It touches the database only where the
// config speaks of row-level security or roles, to look at the login.
func (p *Plugin) Initialize(db *gorm.DB) error {
	if p.registry != nil {
		return errors.New("tenancy: the plugin is in use: make one with New for each *gorm.DB")
	}
	if err := p.config.checkShadow(); err != nil {
		return err
	}
	registry, err := plan.NewRegistry(db, p.config.Rules)
	if err != nil {
		return fmt.Errorf("tenancy: %w", err)
	}
	if err := checkModels(db, registry, p.config.Models); err != nil {
		return err
	}
	p.registry = registry
	if err := p.connect(db); err != nil {
		return err
	}
	if err := p.registerCallbacks(db); err != nil {
		return fmt.Errorf("tenancy: %w", err)
	}
	p.registerBuilders(db)
	return nil
}

// connect looks at the login and puts the router where one is needed.
func (p *Plugin) connect(db *gorm.DB) error {
	if p.config.RowLevelSecurity || p.config.RequireConfinedRole {
		if err := p.checkLogin(db); err != nil {
			return err
		}
	}
	r := &router{app: db.ConnPool}
	pool, err := db.DB()
	r.binds = p.config.RowLevelSecurity && (err != nil || !pgpipe.Binds(pool))
	if system := p.config.System; system != nil {
		if _, confined := system.Plugins[PluginName]; confined || system.ConnPool == db.ConnPool {
			return errors.New("tenancy: Config.System is a handle of its own, without plugins, opened with a *gorm.Config of its own")
		}
		r.system = system.ConnPool
		if same, err := p.sameLogin(db.Statement.Context, r); same || err != nil {
			return errors.Join(errors.New("tenancy: Config.System logs in as the app does: it needs migrate's SystemRole"), err)
		}
	}
	if err := p.watchSuspended(db); err != nil {
		return err
	}
	if r.binds || r.system != nil {
		p.router, db.ConnPool, db.Statement.ConnPool = r, r, r
	}
	return nil
}

// checkModels refuses a model that is listed, but is neither tenant-owned nor shared.
func checkModels(db *gorm.DB, registry *plan.Registry, models []any) error {
	for _, model := range models {
		s, err := plan.Parse(db, model)
		if err != nil {
			return fmt.Errorf("tenancy: %w", err)
		}
		if table, _ := registry.Lookup(s.Table); table.Class == plan.Unclassified {
			return refuse(s.Table, fmt.Errorf("model %s has no column %q: %w", s.Name, registry.Column(), ErrUnclassified))
		}
	}
	return nil
}
