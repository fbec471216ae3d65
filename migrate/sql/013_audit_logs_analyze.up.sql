-- The indexes of expressions have statistics of their own, which an index that is
-- built on a full table lacks until the table is next analyzed: weeks, perhaps.
-- Without them the planner takes one record in 200 to be of any one request.
-- It reads a sample of some 30,000 rows, whatever the table's size.
ANALYZE audit_logs;
