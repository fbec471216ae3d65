-- courtroll: no transaction
--
-- Serves events and deletions of one kind in a tenant, in order and page by page:
-- on its way to a rare action's records the tenant's index would read all of a
-- large tenant's. Across tenants it finds a rare action's records for the system
-- scope, which then sorts them; those of a common one are met soon on the way
-- through everybody's.
--
-- Most records are of rows that were created or updated. They are met soon on the
-- way through a tenant's, and to have them in here would make a bulk insert
-- take nearly three times as long. A query for another action says that it is none
-- of the two, for of a parameter the planner cannot know.
--
-- Without the values of a prepared statement the planner takes any action for rarer
-- than any type: of a filter by both it then reads all of the action's records.
--
-- A writer pays: a bulk insert, of which one entry in eleven is neither, takes 1.05
-- times as long and writes 1.05 times as much WAL; 14 bytes per row.
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_action
	ON audit_logs (action, tenant_id, created_at, id) WHERE action NOT IN ('create', 'update');
