-- courtroll: no transaction
--
-- Serves everybody's records, newest first or oldest first, page by page, and
-- spans of time in order: the system scope's list and exports. The expression
-- is deliberate. 006_audit_logs_by_time says how an index of created_at itself
-- would tempt the planner; a query of one tenant, which orders by created_at,
-- cannot use this one.
--
-- A writer pays: a bulk insert takes 1.3 times as long and writes 1.2 times as
-- much WAL; 40 bytes per row.
-- (Figures from here on: as those of 002, with a request in four rows of five,
-- but of the server's processor time on a busy machine, where the index of 002
-- alone takes 2.2 times as long. The indexes of 010 to 013 together make a bulk
-- insert 1.9 times as long as the five before them, the WAL 1.5 times as much,
-- and take 430 bytes per row; an insert of one row takes 0.06 ms more, which
-- drowns in the wait for its own commit.)
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_across_tenants
	ON audit_logs (timezone('UTC', created_at), id);
