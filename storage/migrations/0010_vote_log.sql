-- The log of votes: what each vote's leaf says, the frontier of each log, and the votes that are kept but not counted.

ALTER TABLE vote_records ADD COLUMN wallet_signature text;
ALTER TABLE markets
    ADD COLUMN proposal_log_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN proposal_log_peaks bytea NOT NULL DEFAULT '',
    ADD COLUMN dispute_log_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN dispute_log_peaks bytea NOT NULL DEFAULT '';
ALTER TABLE aggregation_results
    ADD COLUMN votes_size bigint,
    ADD COLUMN votes_root text;

-- Votes that are kept but not counted: superseded by the wallet's vote on chain (P4), which stands in vote_records, or
-- seen on chain too late (P2). The superseded ones are entries of the log like those in vote_records.
CREATE TABLE uncounted_votes (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    vote boolean NOT NULL,
    weight numeric(20, 0) NOT NULL CHECK (weight >= 0),
    source text NOT NULL CHECK (source IN ('api', 'chain')),
    request_id text,
    tx_signature text,
    market_version bigint NOT NULL, -- of a late one: the version that it came too late for
    created_at timestamptz NOT NULL,
    weight_slot bigint CHECK (weight_slot >= 0),
    wallet_signature text,
    reason text NOT NULL CHECK (reason IN ('superseded', 'late')),
    superseded_by uuid,
    superseded_at_version bigint,
    CHECK ((reason = 'superseded') = (superseded_by IS NOT NULL AND superseded_at_version IS NOT NULL))
);

CREATE INDEX uncounted_votes_version ON uncounted_votes (market_id, vote_type, reason, market_version);
CREATE INDEX uncounted_votes_superseded ON uncounted_votes (market_id, vote_type, superseded_at_version)
    WHERE reason = 'superseded';
CREATE UNIQUE INDEX uncounted_votes_request ON uncounted_votes (user_pubkey, request_id) WHERE request_id IS NOT NULL;
