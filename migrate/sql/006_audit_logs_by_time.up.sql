-- courtroll: no transaction
--
-- Serves a span of time across tenants: exports and retention. Rows arrive in
-- order of time, so a summary per block range does. A btree would also serve
-- everybody's newest records, but it would tempt the planner: for a tenant with
-- many rows it walks such an index backwards, past all newer rows of others,
-- though the tenant's last record may be a year old.
--
-- A writer pays: next to nothing (1.05 times as long at most, no WAL to speak
-- of, one byte for 20 rows).
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_time
	ON audit_logs USING brin (created_at) WITH (autosummarize = on);
