-- courtroll: no transaction
--
-- Serves what was done in one way in a tenant, in order and page by page, be it
-- common or rare: on its way to a rare action's records the tenant's index would
-- read all of a large tenant's. Across tenants it finds a rare action's records
-- for the system scope, which then sorts them; those of a common one are
-- met soon on the way through everybody's.
--
-- Without the values of a prepared statement the planner takes any action for rarer
-- than any type: of a filter by both it then reads all of the action's records.
--
-- A writer pays: a bulk insert takes 2.7 times as long and writes 1.5 times as
-- much WAL; 175 bytes per row.
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_action
	ON audit_logs (action, tenant_id, created_at, id);
