-- What the world is told (decisions F1 to F3), and who is told when somebody writes past the actors (F5).

CREATE TABLE feed_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    CONSTRAINT feed_outbox_gapless UNIQUE (channel, seq)
);

CREATE INDEX feed_outbox_unpublished ON feed_outbox (id) WHERE published_at IS NULL;
CREATE INDEX feed_outbox_published ON feed_outbox (published_at) WHERE published_at IS NOT NULL;

-- Names this history: after a restore from a backup the operator renews it, and every client starts from a snapshot.
CREATE TABLE feed_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch text NOT NULL DEFAULT gen_random_uuid()::text
);

INSERT INTO feed_epoch DEFAULT VALUES;

-- One notification per market and statement: the payload is two short words, far below the 8,000 bytes at which
-- pg_notify would abort the writer's transaction (T51). Equal ones in a transaction arrive once, which a hint may.
CREATE FUNCTION notify_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zmart_changed', json_build_object('table', TG_TABLE_NAME, 'market_id', market_id)::text)
    FROM (SELECT DISTINCT market_id FROM changed) AS ids;
    RETURN NULL;
END
$$;

-- Sessions of actors skip these: they are the owner whom the notification would be for. By statement, because a row
-- trigger that is skipped still cost 4 % of a batch of 1,024 inserts, and this one 0.6 %.
CREATE TRIGGER markets_inserted AFTER INSERT ON markets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
CREATE TRIGGER markets_updated AFTER UPDATE ON markets REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
CREATE TRIGGER markets_deleted AFTER DELETE ON markets REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
CREATE TRIGGER vote_records_inserted AFTER INSERT ON vote_records REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
CREATE TRIGGER vote_records_updated AFTER UPDATE ON vote_records REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
CREATE TRIGGER vote_records_deleted AFTER DELETE ON vote_records REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('zmart.writer', true) IS DISTINCT FROM 'actor') EXECUTE FUNCTION notify_changed();
