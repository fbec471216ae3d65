-- courtroll: no transaction
--
-- Serves finding the tenants of an e-mail domain, as it is stored: write and
-- look up domains in lower case. Not unique, for one company may have several
-- tenants. The slug needs no index: its unique constraint is one.
--
-- A writer pays: a tenant is written seldom, and without a domain nothing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_tenants_domain
	ON tenants (domain) WHERE domain IS NOT NULL;
