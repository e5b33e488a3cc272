-- Breakers that live in one process and that others show: what the last one to change said.
CREATE TABLE breakers (
    name text PRIMARY KEY,
    is_open boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
