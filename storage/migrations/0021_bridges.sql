-- What operators ask of the WebSocket bridges. Orders that closed connections, and their answers, are kept: who, when, why, how many.
CREATE TABLE bridges (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    connections integer NOT NULL,
    beat_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE bridge_orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    is_kick boolean NOT NULL,
    wallet text NOT NULL,
    limit_each integer NOT NULL,
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    CHECK (NOT is_kick OR (wallet <> '' AND reason <> ''))
);
CREATE INDEX bridge_orders_asked ON bridge_orders (asked_at);
CREATE TABLE bridge_answers (
    order_id uuid NOT NULL REFERENCES bridge_orders ON DELETE CASCADE,
    bridge_id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    connections integer NOT NULL,
    matching integer NOT NULL,
    shown jsonb NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, bridge_id)
);
