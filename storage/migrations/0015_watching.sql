-- Bodies come compressed: PostgreSQL need not try again.
ALTER TABLE webhook_inbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- How many events there are of each type, over all markets: event_counts has a row for each market, which are many. In
-- eight parts, so that workers which count the same type rarely wait for each other's commit.
CREATE TABLE event_totals (
    event_type text NOT NULL,
    part smallint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (event_type, part)
) WITH (fillfactor = 60);

INSERT INTO event_totals SELECT event_type, 0, sum(count) FROM event_counts GROUP BY event_type;

CREATE FUNCTION total_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO event_totals AS t (event_type, part, count)
        SELECT event_type, pg_backend_pid() % 8, sum(count) FROM counted GROUP BY event_type ORDER BY event_type
        ON CONFLICT (event_type, part) DO UPDATE SET count = t.count + excluded.count;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO event_totals AS t (event_type, part, count)
        SELECT event_type, pg_backend_pid() % 8, sum(n.count - o.count)
        FROM counted AS n JOIN counted_before AS o USING (market_id, event_type)
        GROUP BY event_type ORDER BY event_type
        ON CONFLICT (event_type, part) DO UPDATE SET count = t.count + excluded.count;
    ELSE
        INSERT INTO event_totals AS t (event_type, part, count)
        SELECT event_type, pg_backend_pid() % 8, -sum(count) FROM counted_before GROUP BY event_type ORDER BY event_type
        ON CONFLICT (event_type, part) DO UPDATE SET count = t.count + excluded.count;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER event_counts_inserted AFTER INSERT ON event_counts REFERENCING NEW TABLE AS counted
    FOR EACH STATEMENT EXECUTE FUNCTION total_events();
CREATE TRIGGER event_counts_updated AFTER UPDATE ON event_counts
    REFERENCING NEW TABLE AS counted OLD TABLE AS counted_before FOR EACH STATEMENT EXECUTE FUNCTION total_events();
CREATE TRIGGER event_counts_deleted AFTER DELETE ON event_counts REFERENCING OLD TABLE AS counted_before
    FOR EACH STATEMENT EXECUTE FUNCTION total_events();

DROP INDEX event_counts_type;

-- The last numbered message of each wallet's channel `user_{wallet}_positions`.
CREATE TABLE position_channels (
    user_pubkey text PRIMARY KEY,
    seq bigint NOT NULL
) WITH (fillfactor = 60);

-- Who said last that it lives and gets on with its work; one row for each role that has to.
CREATE TABLE heartbeats (
    role text PRIMARY KEY,
    beat_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);
