DROP FUNCTION IF EXISTS courtroll_uuidv7();
