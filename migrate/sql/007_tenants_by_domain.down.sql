-- courtroll: no transaction
DROP INDEX CONCURRENTLY IF EXISTS courtroll_tenants_domain;
