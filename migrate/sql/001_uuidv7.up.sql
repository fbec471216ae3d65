-- A UUID of version 7 (RFC 9562) for the rows that SQL makes: 48 bits of
-- milliseconds, the version, 12 bits of the millisecond's fraction, then the
-- variant and 62 random bits, which are the last 17 characters of
-- gen_random_uuid().
--
-- The clock is read once: microseconds times 4.096 are milliseconds and
-- fraction in one number of 15 hexadecimal digits, into which the version is
-- inserted as the 13th. One expression, so that the planner inlines it.
-- A call takes twice the time of gen_random_uuid() alone (2.5 and 1.2 µs).
CREATE OR REPLACE FUNCTION courtroll_uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN overlay(
	lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125), 15, '0')
		|| right(gen_random_uuid()::text, 17)
	PLACING '7' FROM 13 FOR 0)::uuid;

COMMENT ON FUNCTION courtroll_uuidv7() IS 'UUID of version 7 (RFC 9562): ordered by the time of the call';
