-- Alerts count up instead of repeating, have an id for people (a UUID), are resolved, and are carried to sinks: one
-- delivery for each alert, sink and occasion. `id` only says which came first.

ALTER TABLE alerts
    ADD COLUMN alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN occurrences bigint NOT NULL DEFAULT 1,
    ADD COLUMN last_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN resolved_at timestamptz,
    -- When people were last told, and of how many occurrences.
    ADD COLUMN announced_at timestamptz,
    ADD COLUMN announced_occurrences bigint NOT NULL DEFAULT 0,
    ADD COLUMN end_announced boolean NOT NULL DEFAULT false,
    ADD CHECK (resolved_at IS NULL OR acknowledged_at IS NOT NULL);

UPDATE alerts SET last_at = created_at;

CREATE UNIQUE INDEX alerts_alert_id ON alerts (alert_id);
CREATE INDEX alerts_unresolved ON alerts (dedupe_key) WHERE resolved_at IS NULL;
CREATE INDEX alerts_untold ON alerts (id) WHERE occurrences > announced_occurrences AND acknowledged_at IS NULL;
CREATE INDEX alerts_end_untold ON alerts (id)
    WHERE resolved_at IS NOT NULL AND NOT end_announced AND announced_occurrences > 0;

CREATE TABLE alert_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert bigint NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    sink text NOT NULL,
    occasion text NOT NULL CHECK (occasion IN ('raised', 'reminder', 'resolved')),
    occurrences bigint NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'given_up')),
    attempts int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    -- Why the last attempt failed, without any secret.
    last_error text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    UNIQUE (alert, sink, occasion, occurrences)
);

CREATE INDEX alert_deliveries_due ON alert_deliveries (sink, next_attempt_at) WHERE status = 'pending';
CREATE INDEX alert_deliveries_settled ON alert_deliveries (settled_at) WHERE status <> 'pending';

-- Whoever writes an alert wakes whoever delivers it. Equal notices of one transaction are sent as one.
CREATE FUNCTION announce_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('zmart_alerts', '');
    RETURN NULL;
END;
$$;

CREATE TRIGGER alerts_announced AFTER INSERT OR UPDATE OF resolved_at ON alerts
    FOR EACH ROW EXECUTE FUNCTION announce_alert();
