DROP FUNCTION IF EXISTS courtroll_admit(text, text);
