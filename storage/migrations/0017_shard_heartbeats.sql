-- What each shard process says of itself every two seconds, by its place; a place whose process died keeps its last word.
CREATE TABLE shard_heartbeats (
    slot text PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    virtual_shards integer NOT NULL,
    resident_markets integer NOT NULL,
    deadlines integer NOT NULL,
    lag_s bigint NOT NULL, -- how long the earliest deadline has been due
    restarts integer NOT NULL,
    recent_losses integer NOT NULL
) WITH (fillfactor = 50);

-- Operators list transactions newest first, of one market or of all.
CREATE INDEX chain_transactions_newest ON chain_transactions (planned_at DESC, id DESC);
CREATE INDEX chain_transactions_of_market ON chain_transactions (market_id, planned_at DESC, id DESC);
