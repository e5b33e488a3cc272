-- The schema as all migrations together make it, to read; a test compares the two. Databases are made by `zmart migrate`.

CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Takes apart a column of many rows: cells parted by chr(31), chr(30) alone for NULL. One text costs the client a tenth
-- of what an array costs it: 0.1 ms instead of 1.0 for 14 columns of 256 rows.
CREATE FUNCTION cells(joined text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN joined = '' THEN ARRAY[''] ELSE string_to_array(joined, chr(31), chr(30)) END;

-- Ends a statement that is a transaction of its own unless everything in it went as it was meant to: then nothing did.
CREATE FUNCTION all_or_nothing(went_well boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF went_well THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'not all of it went in' USING ERRCODE = 'ZM001';
END
$$;

-- Who owns what.

CREATE TABLE virtual_shards (
    id smallint PRIMARY KEY CHECK (id BETWEEN 0 AND 63),
    wanted_owner text,
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    host text,
    port integer,
    pid integer,
    backend_pid integer, -- the session that holds the advisory lock (77, id)
    updated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO virtual_shards (id) SELECT generate_series(0, 63);

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

-- What is meant to happen on chain, and what came of it.

CREATE TABLE chain_transactions (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    vshard smallint NOT NULL CHECK (vshard BETWEEN 0 AND 63),
    action text NOT NULL,
    attempt integer NOT NULL,
    yes bigint, -- NULL for the end of an undisputed market
    no bigint,
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
    fee_lamports bigint NOT NULL DEFAULT 0, -- the most that the signed bytes can cost
    CHECK (status IN ('planned', 'failed', 'expired') OR (raw IS NOT NULL AND signature IS NOT NULL))
);

-- The database's own guard against two attempts at once (T12).
CREATE UNIQUE INDEX chain_transactions_one_open ON chain_transactions (market_id, action)
    WHERE status IN ('planned', 'signed', 'sent');
-- A market ends once, whichever of the two instructions does it.
CREATE UNIQUE INDEX chain_transactions_one_end ON chain_transactions (market_id)
    WHERE status IN ('planned', 'signed', 'sent') AND action IN ('finalize_market', 'aggregate_dispute_votes');
CREATE INDEX chain_transactions_open ON chain_transactions (planned_at) WHERE status IN ('planned', 'signed', 'sent');
CREATE INDEX chain_transactions_unapplied ON chain_transactions (settled_at)
    WHERE settled_at IS NOT NULL AND applied_at IS NULL;
CREATE INDEX chain_transactions_confirmed ON chain_transactions (confirmed_at) WHERE status = 'confirmed';
CREATE INDEX chain_transactions_signed ON chain_transactions (signed_at) WHERE signed_at IS NOT NULL;
-- Operators list transactions newest first, of one market or of all.
CREATE INDEX chain_transactions_newest ON chain_transactions (planned_at DESC, id DESC);
CREATE INDEX chain_transactions_of_market ON chain_transactions (market_id, planned_at DESC, id DESC);

-- Every vote batch rewrites rows of this table; the free 40 % of a page keeps those updates on it (HOT), away from the
-- indexes. Unset times are NULL; u64 amounts are NUMERIC(20,0), sums of u64 weights NUMERIC(30,0).
CREATE TABLE markets (
    market_id text PRIMARY KEY,
    vshard smallint NOT NULL CHECK (vshard BETWEEN 0 AND 63),
    pda text NOT NULL,
    creator text NOT NULL,
    state text NOT NULL CHECK (
        state IN ('PROPOSED', 'APPROVED', 'ACTIVE', 'RESOLVING', 'DISPUTED', 'FINALIZED', 'CANCELLED')
    ),
    version bigint NOT NULL,
    market_seq bigint NOT NULL,
    votes_seq bigint NOT NULL,
    likes numeric(30, 0) NOT NULL,
    dislikes numeric(30, 0) NOT NULL,
    like_voters bigint NOT NULL,
    dislike_voters bigint NOT NULL,
    support numeric(30, 0) NOT NULL,
    reject numeric(30, 0) NOT NULL,
    support_voters bigint NOT NULL,
    reject_voters bigint NOT NULL,
    confirmed_likes numeric(20, 0) NOT NULL,
    confirmed_dislikes numeric(20, 0) NOT NULL,
    approval_ready boolean NOT NULL,
    voting_closed boolean NOT NULL,
    question text NOT NULL,
    category text NOT NULL,
    observed_slot numeric(20, 0) NOT NULL,
    b_parameter numeric(20, 0) NOT NULL,
    initial_liquidity numeric(20, 0) NOT NULL,
    current_liquidity numeric(20, 0) NOT NULL,
    shares_yes numeric(20, 0) NOT NULL,
    shares_no numeric(20, 0) NOT NULL,
    total_volume numeric(20, 0) NOT NULL,
    proposed_outcome boolean,
    final_outcome boolean,
    created_at timestamptz NOT NULL, -- chain time; lists are ordered by it
    approved_at timestamptz,
    activated_at timestamptz,
    resolution_proposed_at timestamptz,
    resolved_at timestamptz,
    finalized_at timestamptz,
    dispute_initiated_at timestamptz,
    cancelled_at timestamptz,
    claims_enabled boolean NOT NULL DEFAULT false,
    claims_available_at timestamptz,
    intent_id uuid CONSTRAINT markets_intent REFERENCES chain_transactions (id),
    failures integer NOT NULL,
    next_attempt_at timestamptz,
    next_deadline_at timestamptz,
    next_deadline_clock text CHECK (next_deadline_clock IN ('chain', 'wall')),
    last_state_change timestamptz NOT NULL DEFAULT now(),
    last_state_change_tx text,
    last_action text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    effect_unseen boolean NOT NULL DEFAULT false,
    expected_yes bigint, -- what the plan to end the dispute was made with
    expected_no bigint,
    expected_threshold_bps integer,
    skip_reason text NOT NULL DEFAULT '',
    proposal_log_size bigint NOT NULL DEFAULT 0,
    proposal_log_peaks bytea NOT NULL DEFAULT '', -- the frontier: roots of 32 bytes, largest tree first
    dispute_log_size bigint NOT NULL DEFAULT 0,
    dispute_log_peaks bytea NOT NULL DEFAULT '',
    active_at timestamptz, -- chain time
    stuck_told_at timestamptz,
    pool_lamports numeric(20, 0) NOT NULL DEFAULT 0,
    resolver_fees numeric(20, 0) NOT NULL DEFAULT 0,
    CHECK ((next_deadline_at IS NULL) = (next_deadline_clock IS NULL))
) WITH (fillfactor = 60);

CREATE INDEX markets_with_deadline ON markets (vshard) WHERE next_deadline_at IS NOT NULL;
CREATE INDEX markets_windowed ON markets (vshard) WHERE state IN ('RESOLVING', 'DISPUTED');
CREATE INDEX markets_by_age ON markets (created_at, market_id);
CREATE INDEX markets_by_state_and_age ON markets (state, created_at, market_id);

-- Votes, once per market, wallet and type (T1 to T3). There is no foreign key to markets: a market and its first votes
-- may enter in one transaction, votes first, and the check would cost every vote a look-up that its owner has made.

CREATE TABLE vote_records (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    vote boolean NOT NULL, -- true is like or support
    weight numeric(20, 0) NOT NULL CHECK (weight >= 0),
    source text NOT NULL CHECK (source IN ('api', 'chain')),
    request_id text, -- of a chain vote: that of the vote it superseded, so that nobody else can use it
    tx_signature text,
    market_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), -- when its shard took it, in whole milliseconds: the leaf says so
    weight_slot bigint CHECK (weight_slot >= 0), -- when the chain showed the weight of a dispute vote (T8)
    wallet_signature text,
    CONSTRAINT vote_records_once UNIQUE (market_id, user_pubkey, vote_type)
);

CREATE UNIQUE INDEX vote_records_request ON vote_records (user_pubkey, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX vote_records_version ON vote_records (market_id, vote_type, market_version);

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

CREATE TABLE aggregation_results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    intent_id uuid NOT NULL UNIQUE,
    market_id text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    yes_votes numeric(30, 0) NOT NULL, -- exact
    no_votes numeric(30, 0) NOT NULL,
    submitted_yes bigint, -- as the u32 pair on chain (T7); NULL where nothing was sent
    submitted_no bigint,
    percentage_bps integer NOT NULL,
    threshold_bps integer NOT NULL,
    threshold_met boolean NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'submitted', 'confirmed', 'failed', 'skipped')),
    reason text NOT NULL,
    transaction_signature text,
    created_at timestamptz NOT NULL DEFAULT now(),
    submitted_at timestamptz,
    settled_at timestamptz,
    synthetic boolean NOT NULL DEFAULT false, -- a vote that nobody cast (P5)
    votes_size bigint, -- entries of the log at the plan
    votes_root text -- and their Merkle root, in hex
);

CREATE INDEX aggregation_results_market ON aggregation_results (market_id, vote_type);
CREATE INDEX aggregation_results_newest ON aggregation_results (market_id, id);

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

-- What the world is told (decisions F1 to F3), and who is told when somebody writes past the actors (F5).

CREATE TABLE feed_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    votes_seq bigint,
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

-- What people must know. Until an alert is resolved, what would repeat it under the same key counts it up. `alert_id` is
-- its id for people, `id` only says which came first.

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe_key text NOT NULL,
    alert_type text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW')),
    market_id text,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz,
    alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
    occurrences bigint NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    -- When people were last told, and of how many occurrences.
    announced_at timestamptz,
    announced_occurrences bigint NOT NULL DEFAULT 0,
    end_announced boolean NOT NULL DEFAULT false,
    CHECK (resolved_at IS NULL OR acknowledged_at IS NOT NULL)
);

CREATE UNIQUE INDEX alerts_open ON alerts (dedupe_key) WHERE acknowledged_at IS NULL;
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

-- Challenges that wallets have yet to sign; each is taken once (decisions A8).

CREATE TABLE auth_nonces (
    nonce text PRIMARY KEY,
    address text NOT NULL,
    message text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX auth_nonces_expiry ON auth_nonces (expires_at);

-- Who stays signed in, and which operator tokens were handed out. Secrets are here as SHA-256 only.

-- One sign-in and everything that was refreshed from it. Only the newest refresh token is kept: the id is as secret as
-- the token it is part of, so whoever brings it with any other secret brings a token that was replaced.
CREATE TABLE refresh_families (
    id uuid PRIMARY KEY,
    wallet text NOT NULL,
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE INDEX refresh_families_expiry ON refresh_families (expires_at);
CREATE INDEX refresh_families_wallet ON refresh_families (wallet);

-- The tokens themselves are nowhere; `id` is their `jti`. A row without them is written by a revocation, too.
CREATE TABLE operator_tokens (
    id text PRIMARY KEY,
    label text NOT NULL DEFAULT '',
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

-- What the chain said: bodies and signatures on their way in, the events that came of them, and what markets have yet to
-- hear of it. `next_attempt_at` is also the lease: whoever takes a row moves it on, so the row of a dead worker comes back.

CREATE TABLE webhook_inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'dead', 'rejected')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    received_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    -- The span that the body came in, where calls are traced: what a worker does with it later is part of the same trace.
    traceparent text
);

-- Bodies come compressed: PostgreSQL need not try again.
ALTER TABLE webhook_inbox ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE INDEX webhook_inbox_pending ON webhook_inbox (next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_inbox_age ON webhook_inbox (received_at) WHERE status = 'pending';
CREATE INDEX webhook_inbox_ended ON webhook_inbox (ended_at) WHERE status = 'done';
CREATE INDEX webhook_inbox_rejected ON webhook_inbox (id) WHERE status = 'rejected';

-- Signatures that are known of and not read yet.
CREATE TABLE wanted_transactions (
    signature text PRIMARY KEY,
    slot bigint, -- NULL where only the signature was told
    source text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    wanted_at timestamptz NOT NULL DEFAULT now(),
    alerted_at timestamptz -- when somebody was told that it does not come
);

CREATE INDEX wanted_transactions_due ON wanted_transactions (next_attempt_at);

-- Every transaction of the program that was read; one that failed has an `err` and no events (CI 7.2).
CREATE TABLE indexed_transactions (
    signature text PRIMARY KEY,
    slot bigint NOT NULL,
    block_index integer, -- NULL until known
    block_time timestamptz,
    err text,
    commitment text NOT NULL CHECK (commitment IN ('confirmed', 'finalized', 'dropped')),
    source text NOT NULL,
    event_count integer NOT NULL,
    is_incomplete boolean NOT NULL, -- the log was cut off: what it changed was read from the accounts (T35, C3)
    seen_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz -- when it became finalized or dropped
);

CREATE INDEX indexed_transactions_confirmed ON indexed_transactions (slot, signature) WHERE commitment = 'confirmed';

-- An event is (transaction_signature, event_index), the ordinal of the accepted log line (T31, T32); events are ordered
-- by (block_slot, block_index, event_index). 64-bit numbers in event_data are decimal strings.
CREATE TABLE event_logs (
    transaction_signature text NOT NULL,
    event_index integer NOT NULL,
    event_hash text NOT NULL, -- SHA-256 of signature, index and raw bytes, hex
    block_slot bigint NOT NULL,
    block_index integer, -- NULL until known
    block_time timestamptz,
    event_type text NOT NULL,
    market_id text, -- base58; NULL where the event names no market that is known
    user_pubkey text,
    event_data jsonb NOT NULL,
    raw bytea NOT NULL,
    fault text, -- why the bytes are no event of ours; then event_type is Undecodable
    commitment text NOT NULL CHECK (commitment IN ('confirmed', 'finalized', 'dropped')),
    timestamp timestamptz NOT NULL, -- of the event, else of its block (T48)
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_logs_once PRIMARY KEY (transaction_signature, event_index)
);

-- Everything of the program up to `slot` is read or wanted; one row for each program id.
CREATE TABLE indexer_cursor (
    program_id text PRIMARY KEY,
    slot bigint NOT NULL,
    signature text, -- the last one at or below `slot`
    finalized_slot bigint NOT NULL, -- of the chain, when the last sweep began
    swept_at timestamptz NOT NULL DEFAULT now() -- when the last sweep ended
);

-- What markets have yet to hear, for their actors. Rows go once the actor has committed.
CREATE TABLE market_effects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('observe', 'vote')),
    slot bigint NOT NULL, -- the account must be read at this slot or later
    transaction_signature text, -- of a vote
    user_pubkey text,
    vote_type text CHECK (vote_type IN ('proposal', 'dispute')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'vote') = (transaction_signature IS NOT NULL AND user_pubkey IS NOT NULL AND vote_type IS NOT NULL))
);

CREATE INDEX market_effects_due ON market_effects (next_attempt_at, id);
CREATE INDEX market_effects_votes ON market_effects (transaction_signature) WHERE kind = 'vote';

-- Which market lives at which address: some events name the address only (CI 7).
CREATE TABLE market_addresses (
    pda text PRIMARY KEY,
    market_id text NOT NULL
);

-- What was given up; an operator looks, mends and replays.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('webhook', 'transaction', 'effect')),
    body bytea NOT NULL, -- the body or one item of it, the signature, or the effect as JSON
    error text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz
);

CREATE INDEX dead_letters_open ON dead_letters (id) WHERE replayed_at IS NULL;

-- What the events come to: positions and trades; where database and chain disagreed; and indexes for whoever lists events.

-- `slot` is that of the account read which the row shows, 0 before the first; `touched_slot` that of the newest event about
-- it. A row with slot < touched_slot waits to be read again. An older read never overwrites a newer one (T43).
CREATE TABLE positions (
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    pda text, -- the market's address; NULL before the first read
    shares_yes numeric(20, 0) NOT NULL DEFAULT 0,
    shares_no numeric(20, 0) NOT NULL DEFAULT 0,
    total_invested numeric(20, 0) NOT NULL DEFAULT 0,
    trades_count bigint NOT NULL DEFAULT 0,
    last_trade_at timestamptz,
    has_claimed boolean NOT NULL DEFAULT false,
    claimed_amount numeric(20, 0) NOT NULL DEFAULT 0,
    slot bigint NOT NULL DEFAULT 0,
    touched_slot bigint NOT NULL DEFAULT 0,
    clean_slot bigint NOT NULL DEFAULT 0, -- reconciliation found it equal to the chain at this slot
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (market_id, user_pubkey)
) WITH (fillfactor = 80);

CREATE INDEX positions_stale ON positions (touched_slot) WHERE slot < touched_slot;
CREATE INDEX positions_of_wallet ON positions (user_pubkey);

-- One row for each SharesBought and SharesSold; shares and amount may both be 0 (CI 10.6).
CREATE TABLE trades (
    transaction_signature text NOT NULL,
    event_index integer NOT NULL,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    is_buy boolean NOT NULL,
    outcome boolean NOT NULL,
    shares numeric(20, 0) NOT NULL CHECK (shares >= 0),
    amount numeric(20, 0) NOT NULL CHECK (amount >= 0), -- what the buyer paid with fees, or what the seller got
    new_price_yes numeric(20, 0) NOT NULL,
    block_slot bigint NOT NULL,
    traded_at timestamptz NOT NULL,
    PRIMARY KEY (transaction_signature, event_index)
);

CREATE INDEX trades_of_market ON trades (market_id, block_slot);
CREATE INDEX trades_of_wallet ON trades (user_pubkey, block_slot);

-- How many events there are, so that no list has to count them. Dropped ones are in it until they are taken out.
CREATE TABLE event_counts (
    market_id text NOT NULL, -- empty for events about no market that is known
    event_type text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (market_id, event_type)
) WITH (fillfactor = 60);

-- How many events there are of each type, over all markets: event_counts has a row for each market, which are many. In
-- eight parts, so that workers which count the same type rarely wait for each other's commit.
CREATE TABLE event_totals (
    event_type text NOT NULL,
    part smallint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (event_type, part)
) WITH (fillfactor = 60);

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

-- Lists go by (block_slot, block_index, signature, event_index), newest first (T41); an unknown block_index counts as -1.
CREATE INDEX event_logs_order ON event_logs (block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_market ON event_logs (market_id, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_type ON event_logs (event_type, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_market_type ON event_logs (market_id, event_type, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_time ON event_logs (timestamp); -- turns dates into slots

-- Where database and chain disagreed in two runs, with nothing moving in between.
CREATE TABLE discrepancies (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    market_id text NOT NULL,
    user_pubkey text, -- of a position
    field text NOT NULL,
    database_value text NOT NULL,
    chain_value text NOT NULL,
    observed_slot bigint NOT NULL,
    repaired boolean NOT NULL DEFAULT false,
    detected_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX discrepancies_age ON discrepancies (detected_at, id);
CREATE INDEX discrepancies_market ON discrepancies (market_id, detected_at, id);

-- What the last run saw and the next one has to see again.
CREATE TABLE suspicions (
    market_id text NOT NULL,
    user_pubkey text NOT NULL, -- empty for the market itself
    field text NOT NULL,
    database_value text NOT NULL,
    chain_value text NOT NULL,
    observed_slot bigint NOT NULL,
    reported boolean NOT NULL DEFAULT false, -- a discrepancy was stored for it, and could not be repaired
    PRIMARY KEY (market_id, user_pubkey, field)
);

-- Terminal markets that were found equal to the chain; they are not compared again while their row stays as it is.
CREATE TABLE clean_markets (
    market_id text PRIMARY KEY,
    slot bigint NOT NULL
);

-- Runs of the reconciliation, asked for by the timer or by an operator; the indexer answers.
CREATE TABLE reconciliation_runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    market_id text, -- NULL for all markets
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    checked bigint NOT NULL DEFAULT 0,
    discrepancies bigint NOT NULL DEFAULT 0,
    repaired bigint NOT NULL DEFAULT 0,
    error text
);

CREATE INDEX reconciliation_runs_open ON reconciliation_runs (requested_at) WHERE finished_at IS NULL;
CREATE INDEX reconciliation_runs_finished ON reconciliation_runs (finished_at) WHERE finished_at IS NOT NULL;

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

-- Breakers that live in one process and that others show: what the last one to change said.
CREATE TABLE breakers (
    name text PRIMARY KEY,
    is_open boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

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

-- A batch of votes nobody of whom has voted before, as a transaction of its own: fence, ballots, counts and outbox in
-- one round trip. $3 is how many virtual shards it is fenced for, $38 and $39 how many ballots and markets there are.
-- To plan it takes as long as to carry it out for one vote, so its plan is made once a session, and, whatever the tables
-- hold by then, is the only one that is right: a look by its key at each market. A ballot that has one in its way ends
-- the statement by itself: to look in every index first, as ON CONFLICT does, took a sixth of an insert. $40: wake the
-- notifier with this commit.
CREATE FUNCTION take_votes(
    text, text, int, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, int, int, boolean
) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    went_well boolean;
BEGIN
    WITH fenced AS MATERIALIZED (
        SELECT count(*) AS owned FROM (
            SELECT v.id FROM virtual_shards AS v
            JOIN unnest(cells($1), cells($2)) AS mine (id, epoch)
                ON v.id = mine.id::smallint AND v.epoch = mine.epoch::bigint
            FOR SHARE OF v
        ) AS held
    ), inserted AS (
        INSERT INTO vote_records (
            id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, market_version, weight_slot,
            created_at, wallet_signature
        )
        SELECT id::uuid, market_id, user_pubkey, vote_type, vote::boolean, weight::numeric, 'api', request_id,
            market_version::bigint, weight_slot::bigint, to_timestamp(accepted_at_ms::float8 / 1000), wallet_signature
        FROM unnest(
            cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10), cells($11), cells($12),
            cells($13), cells($14)
        ) AS ballots (
            id, market_id, user_pubkey, vote_type, vote, weight, request_id, market_version, weight_slot, accepted_at_ms,
            wallet_signature
        )
        WHERE (SELECT owned FROM fenced) = $3
        RETURNING 1
    ), counted AS (
        UPDATE markets AS m
        SET version = n.version::bigint, market_seq = n.market_seq::bigint, votes_seq = n.votes_seq::bigint,
            likes = n.likes::numeric, dislikes = n.dislikes::numeric,
            like_voters = n.like_voters::bigint, dislike_voters = n.dislike_voters::bigint,
            support = n.support::numeric, reject = n.reject::numeric,
            support_voters = n.support_voters::bigint, reject_voters = n.reject_voters::bigint,
            proposal_log_size = n.proposal_log_size::bigint, proposal_log_peaks = decode(n.proposal_log_peaks, 'hex'),
            dispute_log_size = n.dispute_log_size::bigint, dispute_log_peaks = decode(n.dispute_log_peaks, 'hex'),
            next_deadline_at = to_timestamp(n.next_deadline_at_s::bigint), next_deadline_clock = n.next_deadline_clock,
            updated_at = now()
        FROM unnest(
            cells($15), cells($16), cells($17), cells($18), cells($19), cells($20), cells($21), cells($22), cells($23),
            cells($24), cells($25), cells($26), cells($27), cells($28), cells($29), cells($30), cells($31), cells($32)
        ) AS n (
            market_id, version, market_seq, votes_seq, likes, dislikes, like_voters, dislike_voters,
            support, reject, support_voters, reject_voters, proposal_log_size, proposal_log_peaks,
            dispute_log_size, dispute_log_peaks, next_deadline_at_s, next_deadline_clock
        )
        WHERE m.market_id = n.market_id AND m.version = n.version::bigint - 1
        RETURNING 1
    ), told AS (
        INSERT INTO feed_outbox (channel, seq, type, payload, votes_seq)
        SELECT channel, seq::bigint, type, payload::jsonb, votes_seq::bigint
        FROM unnest(cells($33), cells($34), cells($35), cells($36), cells($37))
            WITH ORDINALITY AS o (channel, seq, type, payload, votes_seq, place)
        ORDER BY place
    )
    SELECT all_or_nothing(
        (SELECT owned FROM fenced) = $3
        AND (SELECT count(*) FROM inserted) = $38
        AND (SELECT count(*) FROM counted) = $39
    ) INTO went_well;
    IF $40 THEN
        PERFORM pg_notify('zmart_outbox', '');
    END IF;
    RETURN went_well;
END
$$;

-- As shards of the build before call it.
CREATE FUNCTION take_votes(
    text, text, int, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, int, int
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN take_votes(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, false
    );
END
$$;
