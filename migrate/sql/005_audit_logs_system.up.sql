-- courtroll: no transaction
--
-- Serves the system's events, those of no tenant, in order and page by page.
-- The tenant index cannot: the planner does not see that rows of one NULL are
-- in order of time.
--
-- A writer pays: nothing measurable while few rows are of no tenant; 40 bytes
-- per such row.
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_system
	ON audit_logs (created_at, id) WHERE tenant_id IS NULL;
