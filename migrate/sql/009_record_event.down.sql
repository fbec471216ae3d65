DROP FUNCTION IF EXISTS courtroll_record_event(uuid, text, text, text, text, text, jsonb);
