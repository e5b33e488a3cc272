-- What is meant to happen on chain, and what came of it.

CREATE TABLE chain_transactions (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    vshard smallint NOT NULL CHECK (vshard BETWEEN 0 AND 63),
    action text NOT NULL,
    attempt integer NOT NULL,
    yes bigint NOT NULL,
    no bigint NOT NULL,
    status text NOT NULL DEFAULT 'planned' CHECK (
        status IN ('planned', 'signed', 'sent', 'confirmed', 'finalized', 'failed', 'expired')
    ),
    raw bytea,
    signature text,
    blockhash text,
    last_valid_block_height numeric(20, 0),
    error_name text,
    slot numeric(20, 0),
    observed jsonb, -- the market account as read after the attempt ended
    planned_at timestamptz NOT NULL DEFAULT now(),
    signed_at timestamptz,
    sent_at timestamptz,
    confirmed_at timestamptz,
    finalized_at timestamptz,
    settled_at timestamptz, -- when the attempt ended, one way or the other
    applied_at timestamptz, -- when the market took the end in
    CHECK (status IN ('planned', 'failed', 'expired') OR (raw IS NOT NULL AND signature IS NOT NULL))
);

-- The database's own guard against two attempts at once (T12).
CREATE UNIQUE INDEX chain_transactions_one_open ON chain_transactions (market_id, action)
    WHERE status IN ('planned', 'signed', 'sent');
CREATE INDEX chain_transactions_open ON chain_transactions (planned_at) WHERE status IN ('planned', 'signed', 'sent');
CREATE INDEX chain_transactions_unapplied ON chain_transactions (settled_at)
    WHERE settled_at IS NOT NULL AND applied_at IS NULL;

ALTER TABLE markets ADD CONSTRAINT markets_intent FOREIGN KEY (intent_id) REFERENCES chain_transactions (id);

CREATE TABLE aggregation_results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    intent_id uuid NOT NULL UNIQUE,
    market_id text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    yes_votes numeric(30, 0) NOT NULL, -- exact
    no_votes numeric(30, 0) NOT NULL,
    submitted_yes bigint NOT NULL, -- as the u32 pair on chain (T7)
    submitted_no bigint NOT NULL,
    percentage_bps integer NOT NULL,
    threshold_bps integer NOT NULL,
    threshold_met boolean NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'submitted', 'confirmed', 'failed', 'skipped')),
    reason text NOT NULL,
    transaction_signature text,
    created_at timestamptz NOT NULL DEFAULT now(),
    submitted_at timestamptz,
    settled_at timestamptz
);

CREATE INDEX aggregation_results_market ON aggregation_results (market_id, vote_type);

-- One row, the last GlobalConfig that was read; no row before the first.
CREATE TABLE chain_config (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    slot numeric(20, 0) NOT NULL,
    admin text NOT NULL,
    backend_authority text NOT NULL,
    proposal_threshold_bps integer NOT NULL,
    dispute_threshold_bps integer NOT NULL,
    dispute_period_s bigint NOT NULL,
    is_paused boolean NOT NULL,
    may_aggregate boolean NOT NULL,
    may_approve boolean NOT NULL,
    read_at timestamptz NOT NULL DEFAULT now()
);
