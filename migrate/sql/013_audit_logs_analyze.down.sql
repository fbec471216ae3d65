-- Statistics go with their indexes.
SELECT 1;
