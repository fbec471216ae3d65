-- courtroll: no transaction
DROP INDEX CONCURRENTLY IF EXISTS courtroll_audit_logs_request;
