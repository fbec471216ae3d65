-- courtroll: no transaction
--
-- Serves a tenant's records, newest first or oldest first, page by page: the
-- keyset (created_at, id) is read in order in both directions, also under the
-- policy's predicate. Ascending, since one index serves both.
--
-- A writer pays: a bulk insert takes 1.7 times as long and writes 1.4 times as
-- much WAL; 144 bytes per row where tenants are UUIDs as text.
-- (Figures in these files: PostgreSQL 15, 300,000 rows onto 300,000, tenants
-- skewed, actor, tenant and resource ids of 36 characters, against the table
-- with its primary key alone. All five audit_logs indexes together: 4.6 times
-- as long, 2.7 times the WAL, 500 bytes per row; an insert of one row with its
-- own commit: 1.2 times as long at most.)
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_tenant
	ON audit_logs (tenant_id, created_at, id);
