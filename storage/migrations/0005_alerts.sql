-- What people must know. One open alert per dedupe_key: acknowledging it lets the next one in.

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe_key text NOT NULL,
    alert_type text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW')),
    market_id text,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz
);

CREATE UNIQUE INDEX alerts_open ON alerts (dedupe_key) WHERE acknowledged_at IS NULL;
