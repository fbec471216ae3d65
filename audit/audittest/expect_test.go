package audittest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/audit/audittest"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

type Invoice struct {
	ID       int64
	TenantID string
	Status   string
	Note     *string
	APIToken string
	Avatar   []byte `audit:"-"`
	Email    string `audit:"hash"`
	Bio      string `audit:"cut=8"`

	DeletedAt gorm.DeletedAt
}

type Part struct {
	TenantID string    `gorm:"primaryKey"`
	Place    uuid.UUID `gorm:"type:uuid;primaryKey"`
	Number   int       `gorm:"primaryKey;autoIncrement:false"`
}

var (
	rules   = tenancy.Rules{Models: []any{&Invoice{}, &Part{}, &Reading{}}}
	hashKey = []byte(strings.Repeat("k", 32))
)

var trailSchema = pgtest.Template{Name: "trail kit", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	_, upErr := m.Up(context.Background())
	if err := errors.Join(upErr, owner.AutoMigrate(rules.Models...)); err != nil {
		return err
	}
	_, err := m.Protect(context.Background())
	return err
}}

// bundle is a handle as an app has it, behind row-level security, with an actor
// in the context of each of two tenants.
type bundle struct {
	*pgtest.DB
	app               *gorm.DB
	acme, hal, system *gorm.DB
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{DB: pgtest.New(t, trailSchema)}
	b.app = b.Open(tenancy.Postgres(b.AppDSN), nil)
	system := b.Open(tenancy.Postgres(b.SystemDSN), nil)
	must(t, b.app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, RequireConfinedRole: true, System: system})))
	must(t, b.app.Use(audit.New(audit.Config{Rules: rules, HashKey: hashKey})))
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "ann", RequestID: "r_1"})
	b.acme = b.app.WithContext(tenancy.WithTenant(ctx, "acme"))
	b.hal = b.app.WithContext(tenancy.WithTenant(ctx, "hal"))
	b.system = b.app.WithContext(tenancy.AsSystem(ctx, "the night's work"))
	return b
}

// super is a handle that no wall confines.
func (b *bundle) super() *gorm.DB { return b.Open(postgres.Open(b.SuperDSN), nil) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// invoice creates one and sends it.
func (b *bundle) invoice(t *testing.T) *Invoice {
	t.Helper()
	invoice := &Invoice{Status: "draft", APIToken: "canary-one", Email: "ann@example.com"}
	must(t, b.acme.Create(invoice).Error)
	must(t, b.acme.Model(invoice).Updates(map[string]any{"status": "sent", "api_token": "canary-two"}).Error)
	return invoice
}

func (b *bundle) with(ctx context.Context) *gorm.DB { return b.app.WithContext(ctx) }

// Each way of asking, and what a failure says.
func TestExpect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := audittest.Now(t, b.acme)
	invoice := b.invoice(t)
	must(t, b.acme.Create(&Invoice{}).Error)
	between := audittest.Now(t, b.app)
	bob := audit.WithActor(b.acme.Statement.Context, audit.Actor{ID: "bob", RequestID: "r_2"})
	must(t, b.with(bob).Delete(invoice).Error)
	part := Part{Place: uuid.New(), Number: 7}
	must(t, b.with(bob).Create(&part).Error)
	must(t, audit.Record(b.acme.Statement.Context, b.app, audit.Event{Action: "user.login", ResourceType: "people", ResourceID: "7"}))
	after := audittest.Now(t, b.system)

	for name, c := range map[string]struct {
		do   func(tr *audittest.Trail)
		want []string
	}{
		"One":   {do: func(tr *audittest.Trail) { tr.One("invoices", "update") }},
		"Count": {do: func(tr *audittest.Trail) { tr.Count(2, "invoices", "create").Count(0, "invoices", "restore") }},
		"None": {do: func(tr *audittest.Trail) {
			tr.None("invoices", "restore").None("parts", "update").None("parts", "delete")
		}},
		"CountIsExact": {do: func(tr *audittest.Trail) { tr.Count(0, "invoices", "delete").Of("2").None("invoices", "delete") }},
		"LikeOthers": {do: func(tr *audittest.Trail) {
			tr.None("people", "user.logout").None("people", "user.unlogin").None("parts", "part.moved")
		}},
		"NoneOfAnEvent":     {do: func(tr *audittest.Trail) { tr.None("invoices", "invoice.export").None("users", "user.login_failed") }},
		"Of":                {do: func(tr *audittest.Trail) { tr.Of(invoice.ID).One("invoices", "update") }},
		"OfAText":           {do: func(tr *audittest.Trail) { tr.Of("1").One("invoices", "update") }},
		"OfAComposite":      {do: func(tr *audittest.Trail) { tr.Of("acme", part.Place, part.Number).One("parts", "create") }},
		"By":                {do: func(tr *audittest.Trail) { tr.By("bob").Count(0, "invoices", "update").One("invoices", "soft_delete") }},
		"InRequest":         {do: func(tr *audittest.Trail) { tr.InRequest("r_2").One("invoices", "soft_delete") }},
		"Since":             {do: func(tr *audittest.Trail) { tr.Since(between).None("invoices", "update").One("parts", "create") }},
		"SinceTheStart":     {do: func(tr *audittest.Trail) { tr.Since(before).Count(1, "invoices", "update") }},
		"Nothing":           {do: func(tr *audittest.Trail) { tr.Since(after).Nothing() }},
		"NarrowedIsAnother": {do: func(tr *audittest.Trail) { tr.By("bob"); tr.One("invoices", "update") }},

		"OneOfNone": {
			do:   func(tr *audittest.Trail) { tr.One("invoices", "restore") },
			want: []string{`no entry of action "restore" on "invoices", want one; there are:`, "update invoices 1 by ann: api_token, status", "user.login people 7 by ann: success"},
		},
		"OneOfMore": {
			do:   func(tr *audittest.Trail) { tr.One("invoices", "create") },
			want: []string{`2 entries of action "create" on "invoices", want one:`, "create invoices 1 by ann: api_token", "create invoices 2 by ann"},
		},
		"CountOfOthers": {
			do:   func(tr *audittest.Trail) { tr.Of(1).Count(2, "invoices", "create") },
			want: []string{`1 entry of action "create" on "invoices" Of(1), want 2:`, "create invoices 1 by ann"},
		},
		"NoneOfOne":      {do: func(tr *audittest.Trail) { tr.None("invoices", "create") }, want: []string{"2 entries", "want 0"}},
		"NothingOfSome":  {do: func(tr *audittest.Trail) { tr.By("bob").Nothing() }, want: []string{"2 entries By(bob), want none:", "soft_delete invoices 1 by bob: deleted_at"}},
		"OfAnother":      {do: func(tr *audittest.Trail) { tr.Of(3).One("invoices", "update") }, want: []string{"Of(3), want one; there is nothing Of(3), but without Of(3):", "update invoices 1"}},
		"OfAnotherSince": {do: func(tr *audittest.Trail) { tr.Since(between).Of(3).One("parts", "create") }, want: []string{" Of(3), but without Of(3):\n\tsoft_delete invoices"}},
		"SinceAndOf":     {do: func(tr *audittest.Trail) { tr.Since(after).Of(1).One("invoices", "update") }, want: []string{" Of(1), nor without Of(1)"}},
		"ByAnother":      {do: func(tr *audittest.Trail) { tr.By("bob").One("invoices", "update") }, want: []string{"By(bob), want one; there are By(bob):", "soft_delete invoices 1 by bob"}},
		"InAnother":      {do: func(tr *audittest.Trail) { tr.InRequest("r_2").One("invoices", "update") }, want: []string{"InRequest(r_2)"}},
		"SinceThen":      {do: func(tr *audittest.Trail) { tr.Since(between).One("invoices", "update") }, want: []string{"Since(20"}},
		"Table":          {do: func(tr *audittest.Trail) { tr.One("invoice", "update") }, want: []string{`there is no table "invoice"`, `did you mean "invoices"?`, "update invoices 1"}},
		"NoneOfNoTable":  {do: func(tr *audittest.Trail) { tr.None("Invoice", "update") }, want: []string{`there is no table "Invoice"`, `did you mean "invoices"?`}},
		"StrangeTable":   {do: func(tr *audittest.Trail) { tr.None("zebras", "update") }, want: []string{`there is no table "zebras", nor an entry of one; there are:`}},
		"Action":         {do: func(tr *audittest.Trail) { tr.One("invoices", "updated") }, want: []string{`"updated" is no action`, "noun.verb", `did you mean "update"?`}},
		"NoneOfNoAction": {do: func(tr *audittest.Trail) { tr.None("invoices", "softdelete") }, want: []string{`"softdelete" is no action`, `did you mean "soft_delete"?`}},
		"EventOfAnother": {do: func(tr *audittest.Trail) { tr.None("peoples", "user.login") }, want: []string{`there is no "user.login" on "peoples"`, `"people"`}},
		"WithSchema":     {do: func(tr *audittest.Trail) { tr.None("public.invoices", "create") }, want: []string{`the trail names a table without its schema, "invoices"`}},
		"OneWithSchema":  {do: func(tr *audittest.Trail) { tr.One("public.invoices", "update") }, want: []string{`the trail names a table without its schema, "invoices"`}},
		"DottedAction":   {do: func(tr *audittest.Trail) { tr.None("invoices", "invoices.update") }, want: []string{`the action of a change of "invoices" is "update"`}},
		"SwappedEvent":   {do: func(tr *audittest.Trail) { tr.None("people", "user.lgoin") }, want: []string{`there is no event "user.lgoin": did you mean "user.login"?`}},
		"MisspeltEvent":  {do: func(tr *audittest.Trail) { tr.Count(0, "people", "users.login") }, want: []string{`did you mean "user.login"?`}},
		"EventInGo":      {do: func(tr *audittest.Trail) { tr.None("people", "User.Login") }, want: []string{`did you mean "user.login"?`}},
		"SoftDeleted":    {do: func(tr *audittest.Trail) { tr.None("invoices", "delete") }, want: []string{"1 soft_delete: ", `Count(0, "invoices", "delete")`, "soft_delete invoices 1 by bob"}},
		"SoftDeletedBy": {do: func(tr *audittest.Trail) {
			tr.By("ann").None("invoices", "delete").By("bob").None("invoices", "delete")
		}, want: []string{"1 soft_delete: "}},
		"BlankType":     {do: func(tr *audittest.Trail) { tr.One(" ", "update") }, want: []string{"a resource type and an action are due"}},
		"BlankAction":   {do: func(tr *audittest.Trail) { tr.None("invoices", "") }, want: []string{"a resource type and an action are due"}},
		"OfNothing":     {do: func(tr *audittest.Trail) { tr.Of().One("invoices", "update") }, want: []string{"Of was given nothing"}},
		"OfANil":        {do: func(tr *audittest.Trail) { tr.Of("acme", nil).One("invoices", "update") }, want: []string{"Of was given nothing"}},
		"OfAModel":      {do: func(tr *audittest.Trail) { tr.Of(Invoice{ID: 1, APIToken: "canary-one"}).None("invoices", "restore") }, want: []string{"a audittest_test.Invoice, which is no key"}},
		"OfAPointer":    {do: func(tr *audittest.Trail) { tr.Of(invoice).None("invoices", "restore").Nothing() }, want: []string{"a *audittest_test.Invoice, which is no key"}},
		"OfANamedModel": {do: func(tr *audittest.Trail) { tr.Of(&Named{Token: "canary-one"}).None("invoices", "restore") }, want: []string{"which is no key"}},
		"OfAMap":        {do: func(tr *audittest.Trail) { tr.Of(map[string]int{"id": 1}).None("invoices", "restore") }, want: []string{"which is no key"}},
		"OfASlice":      {do: func(tr *audittest.Trail) { tr.Of([]int{1}).None("invoices", "restore") }, want: []string{"which is no key"}},
		"OfAFunc":       {do: func(tr *audittest.Trail) { tr.Of(func() {}).None("invoices", "restore") }, want: []string{"which is no key"}},
		"OfZero":        {do: func(tr *audittest.Trail) { tr.Of(Invoice{}.ID).None("invoices", "restore") }, want: []string{"a int64 that is zero"}},
		"OfZeroPart":    {do: func(tr *audittest.Trail) { tr.Of("acme", part.Place, 0).None("parts", "update") }, want: []string{"a int that is zero"}},
		"OfNilUUID":     {do: func(tr *audittest.Trail) { tr.Of("acme", uuid.UUID{}, 7).None("parts", "update") }, want: []string{"a uuid.UUID that is zero"}},
		"OfNilUUIDText": {do: func(tr *audittest.Trail) { tr.Of(uuid.Nil.String()).None("invoices", "restore") }, want: []string{"that is zero"}},
		"OfTooMany":     {do: func(tr *audittest.Trail) { tr.Of(1, 1).None("invoices", "restore") }, want: []string{`a key of 2 parts, and that of "invoices" has 1 part`}},
		"OfTooFew":      {do: func(tr *audittest.Trail) { tr.Of(part.Place).None("parts", "update") }, want: []string{`a key of 1 part, and that of "parts" has 3 parts`}},
		"ByNobody":      {do: func(tr *audittest.Trail) { tr.By("").None("invoices", "update").Nothing() }, want: []string{"By was given nothing"}},
		"InNoRequest":   {do: func(tr *audittest.Trail) { tr.InRequest("").By("ann").Nothing() }, want: []string{"InRequest was given nothing"}},
		"SinceNoMoment": {do: func(tr *audittest.Trail) { tr.Since(audittest.Moment{}).Nothing() }, want: []string{"Since was given nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, func(r *recorder) { c.do(audittest.Expect(r, b.acme)) }, c.want...)
		})
	}
}

// Named is a model with a text for people, which is no key.
type Named struct{ Token string }

func (n Named) String() string { return "named " + n.Token }

// A check that there is nothing fails where it could not find anything, and where
// nobody can tell the log says so.
func TestExpect_Vain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.invoice(t)
	plain := b.Open(tenancy.Postgres(b.AppDSN), nil).WithContext(b.acme.Statement.Context)
	excluding := b.Open(tenancy.Postgres(b.AppDSN), nil)
	must(t, excluding.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})))
	must(t, excluding.Use(audit.New(audit.Config{Rules: rules, HashKey: hashKey, Exclude: []audit.Exclusion{{Model: &Part{}, Reason: "no one's"}}})))
	excluding = excluding.WithContext(b.acme.Statement.Context)
	void := b.with(tenancy.WithTenant(t.Context(), "void"))
	for name, c := range map[string]struct {
		do     func(r *recorder)
		want   []string
		logged bool
	}{
		"NoPluginNone":    {do: func(r *recorder) { audittest.Expect(r, plain).None("invoices", "delete").Nothing() }, want: []string{"not installed"}},
		"NoPluginCount":   {do: func(r *recorder) { audittest.Expect(r, plain).Count(0, "users", "user.login") }, want: []string{"not installed"}},
		"NoPluginNothing": {do: func(r *recorder) { audittest.Expect(r, plain).By("zoe").Nothing() }, want: []string{"not installed"}},
		"NoPluginOne":     {do: func(r *recorder) { audittest.Expect(r, plain).One("invoices", "update") }},
		"Excluded":        {do: func(r *recorder) { audittest.Expect(r, excluding).None("parts", "delete") }, want: []string{`table "parts" is in Config.Exclude (no one's)`}},
		"ExcludedCount":   {do: func(r *recorder) { audittest.Expect(r, excluding).Count(0, "parts", "create") }, want: []string{`Config.Exclude`}},
		"ExcludedEvent": {do: func(r *recorder) {
			audittest.Expect(r, excluding).None("parts", "part.move").None("invoices", "delete")
		}},
		"EmptyNone":    {do: func(r *recorder) { audittest.Expect(r, void).None("invoices", "delete") }, logged: true},
		"EmptyNothing": {do: func(r *recorder) { audittest.Expect(r, void).By("ann").Nothing() }, logged: true},
		"Empty":        {do: func(r *recorder) { audittest.Expect(r, void).One("invoices", "create") }, want: []string{"is empty"}},
		"NotEmpty":     {do: func(r *recorder) { audittest.Expect(r, b.acme).By("zoe").None("invoices", "delete").Nothing() }},
	} {
		t.Run(name, func(t *testing.T) {
			var log string
			check(t, func(r *recorder) { c.do(r); log = strings.Join(r.log, "\n") }, c.want...)
			if logged := strings.Contains(log, "sees no entry at all"); logged != c.logged {
				t.Errorf("logged %q", log)
			}
		})
	}
}

// What the context may see is what there is.
func TestExpect_Context(t *testing.T) {
	t.Parallel()
	b := setup(t)
	invoice := b.invoice(t)
	moment := audittest.Now(t, b.app)
	must(t, b.hal.Create(&Invoice{Status: "new"}).Error)
	for name, c := range map[string]struct {
		do   func(r *recorder)
		want []string
	}{
		"OtherTenant": {func(r *recorder) { audittest.Expect(r, b.hal).None("invoices", "update").One("invoices", "create") }, nil},
		"System": {func(r *recorder) {
			tr := audittest.Expect(r, b.system).Count(2, "invoices", "create")
			tr.Since(moment).One("invoices", "create").Changed("tenant_id", nil, "hal")
		}, nil},
		"NothingInSystem": {func(r *recorder) {
			then := audittest.Now(r, b.system)
			again := tenancy.AsSystem(t.Context(), "another look")
			audittest.Expect(r, b.with(again)).Since(then).Nothing()
		}, nil},
		"Transaction": {func(r *recorder) {
			must(t, ignore(b.acme.Transaction(func(tx *gorm.DB) error {
				must(t, tx.Model(invoice).Update("status", "paid").Error)
				audittest.Expect(r, tx).Since(moment).One("invoices", "update").Changed("status", "sent", "paid")
				return errRollback
			}), errRollback))
			audittest.Expect(r, b.acme).Since(moment).Nothing()
		}, nil},
		"Conditions":    {func(r *recorder) { audittest.Expect(r, b.acme.Where("1 = 0").Limit(1)).One("invoices", "update") }, nil},
		"NoTenant":      {func(r *recorder) { audittest.Expect(r, b.app).One("invoices", "update").By("ann") }, []string{"db.WithContext", "tenancy.WithTenant"}},
		"NoTenantNone":  {func(r *recorder) { audittest.Expect(r, b.app).None("invoices", "update") }, []string{"tenancy.WithTenant"}},
		"NoTenantWhole": {func(r *recorder) { audittest.Expect(r, b.app).Nothing().Nothing() }, []string{"tenancy.WithTenant"}},
		"EmptyTrail": {func(r *recorder) {
			audittest.Expect(r, b.with(tenancy.WithTenant(t.Context(), "void"))).One("invoices", "update")
		}, []string{"the trail that the context sees is empty"}},
		"DryRun": {func(r *recorder) {
			audittest.Expect(r, b.acme.Session(&gorm.Session{DryRun: true})).None("invoices", "update")
		}, []string{"dry run"}},
		"NoHandle":    {func(r *recorder) { audittest.Expect(r, nil).By("ann").One("invoices", "update").By("ann") }, []string{"nil"}},
		"FailedDB":    {func(r *recorder) { audittest.Expect(r, b.acme.Exec("nonsense")).None("invoices", "update") }, []string{"hand-written SQL"}},
		"NowOfNil":    {func(r *recorder) { audittest.Now(r, nil) }, []string{"nil"}},
		"NowOfClosed": {func(r *recorder) { audittest.Now(r, b.with(ended(t))) }, []string{"asking the database for the time"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.do, c.want...) })
	}
}

var errRollback = errors.New("rollback")

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// All pages are read, and of a long list the newest are shown.
func TestExpect_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	invoices := make([]Invoice, 2100)
	must(t, b.acme.CreateInBatches(invoices, 700).Error)
	tr := audittest.Expect(t, b.acme).Count(2100, "invoices", "create")
	tr.Of(1).One("invoices", "create")
	check(t, func(r *recorder) { audittest.Expect(r, b.acme).Count(3, "invoices", "create") },
		"2100 entries", "… and 2080 before:\n\tcreate invoices 2081 by ann", "create invoices 2100 by ann")
}

// Without the tenancy plugin, and with an error of the database.
func TestExpect_Plain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.App.Use(audit.New(audit.Config{})))
	app := db.App.WithContext(tenancy.AsSystem(t.Context(), "no tenants here"))
	must(t, app.Create(&Project{ID: 3}).Error)
	audittest.Expect(t, app).Of(3).One("projects", "create").OnlyChanged("id").Because("no tenants here")
	must(t, db.Owner.Exec("REVOKE SELECT ON audit_logs FROM PUBLIC, "+db.AppRole).Error)
	check(t, func(r *recorder) { audittest.Expect(r, app).None("projects", "delete") }, "permission denied")
}
