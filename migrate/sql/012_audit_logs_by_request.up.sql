-- courtroll: no transaction
--
-- Serves what one request did, which is then sorted: across tenants for the
-- system scope, and in a tenant where no row-level security binds the login.
-- Where it does, the planner may not use it: the operator ->> is not leakproof,
-- and so must not see a row before the policy has. A tenant's own search for a
-- request then reads that tenant's records, as far as the filter's times go.
--
-- It is not partial, for of a partial index the planner uses no statistics: it
-- would expect one record in 200 and walk through everybody's instead. Records
-- without a request cost little: equal keys share an entry. So do those of a
-- large import, which a hash index, though it costs half as much otherwise, would
-- put into one chain that each insert walks from its start.
--
-- A writer pays: a bulk insert takes 1.7 times as long and writes 1.35 times as
-- much WAL; 48 bytes per row. (The figures of 010 to 012: measured as those of 002,
-- against the table with its primary key alone. All eight indexes together against
-- the five before: 1.3 times as long, 1.2 times the WAL, 100 bytes per row more.)
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_request
	ON audit_logs ((metadata->>'request_id'));
